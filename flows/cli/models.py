"""Commands around models: check the losses, improve answers, compare two models."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from hasse.flows.cli.options import JSON, STORE, print_rows


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def golden(file: Path, as_json: bool) -> None:
    """Check losses and gradients against FILE, in float64; exit code 1 when one is off by more than 1e-9."""
    from hasse.stages.train.golden_vectors import TOLERANCE, check_file

    checks = check_file(file)
    rows = [
        {
            "loss": c.loss,
            "case": c.case,
            "field": c.field,
            "expected": c.expected,
            "actual": c.actual,
            "difference": c.difference,
            "ok": c.ok,
        }
        for c in checks
    ]
    print_rows(rows, as_json=as_json)
    wrong = sum(not c.ok for c in checks)
    if not as_json:
        click.echo(f"{len(checks)} numbers, {wrong} off by more than {TOLERANCE:g}")
    if wrong or not checks:
        sys.exit(1)


@click.command()
@click.argument("checkpoint")
@click.option("--prompts", type=click.Path(path_type=Path), required=True, help="A file with prompt and answer.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSONL with what was improved.")
@click.option("--policy", help="Model that answers prompts without an answer: folder or artifact.")
@click.option("--reward", help="Gap reward model, for the calibrated gaps: folder or artifact.")
@click.option("--template", help="The improver's prompt; by default that of the recipe it was trained by.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 5), help="Improvements, at most.")
@click.option("--threshold", type=float, help="Keep an improved answer only where its calibrated gap exceeds this.")
@click.option("--temperature", default=0.5, show_default=True, type=click.FloatRange(0), help="Of the sampled answers.")
@click.option("--max-tokens", default=256, show_default=True, type=click.IntRange(1), help="Tokens of an answer.")
@STORE
def improve(checkpoint: str, prompts: Path, out: Path, store_path: str, **options: Any) -> None:
    """Improve answers with CHECKPOINT, an improver trained by PIT: a folder, or an artifact of the store."""
    from hasse.flows.cli.improve_files import improve_file
    from hasse.pipeline.remote.store import open_store

    rows = improve_file(open_store(store_path), checkpoint, prompts, out, **options)
    changed = sum(row["improved"] != row["answer"] for row in rows)
    click.echo(f"{len(rows)} answers, {changed} changed, in {out}")


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--questions", type=click.Path(path_type=Path), required=True, help="A file with text, question_id.")
@click.option("--judge", required=True, help="The judge's name at the endpoint.")
@click.option("--base-url", help="An OpenAI-compatible endpoint; OpenAI's own when left out.")
@click.option("--api-key-variable", default="OPENAI_API_KEY", show_default=True, help="Variable with the key.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many questions.")
@click.option("--max-tokens", default=512, show_default=True, type=click.IntRange(1), help="Tokens of an answer.")
@click.option("--budget-usd", type=click.FloatRange(0), help="Dollars that the judge may cost.")
@click.option(
    "--max-failed",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share without verdict.",
)
@STORE
@JSON
def duel(
    first: str,
    second: str,
    questions: Path,
    judge: str,
    base_url: str | None,
    api_key_variable: str,
    limit: int | None,
    max_tokens: int,
    budget_usd: float | None,
    max_failed: float,
    store_path: str,
    as_json: bool,
) -> None:
    """Compare the answers of two models (folders or artifacts) by a chat model, each pair in both orders."""
    from hasse.flows.cli.improve_files import model_of
    from hasse.flows.run.endpoint_keys import check_key
    from hasse.pipeline.remote.store import open_store
    from hasse.stages.chat.cache.file import path_in
    from hasse.stages.chat.money.budget import Account
    from hasse.stages.chat.money.prices import price_of
    from hasse.stages.chat.settings import ChatSettings
    from hasse.stages.evaluate.duel import answers, read_questions
    from hasse.stages.evaluate.duel import duel as compare

    endpoint = ChatSettings(model=judge, base_url=base_url, api_key_variable=api_key_variable, budget_usd=budget_usd)
    price_of(endpoint)
    check_key(endpoint, where="judge")
    store, asked = open_store(store_path), read_questions(questions, limit)
    one, other = (answers(model_of(store, name), asked, max_tokens=max_tokens) for name in (first, second))
    rows, rate = compare(asked, one, other, endpoint, payer=Account(replies=path_in(store.root)), max_failed=max_failed)
    summary = {
        "win": rate.win,
        "lose": rate.lose,
        "tie": rate.tie,
        "excluded": rate.excluded,
        "win - lose %": round(100 * rate.rate.mean, 1),
        "95 % interval": f"{100 * rate.rate.low:.1f} to {100 * rate.rate.high:.1f}",
        "for the first shown": rate.position_bias,
    }
    if as_json:
        click.echo(json.dumps({"summary": summary, "rows": rows}, indent=1))
    else:
        print_rows([summary], as_json=False)


COMMANDS = (
    golden,
    improve,
    duel,
)
