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
    """Check losses and gradients against golden vectors.

    Computes every case of FILE in float64. The exit code is 1 if a number is off by more than 1e-9.
    """
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
@click.option(
    "--prompts", type=click.Path(path_type=Path), required=True, help="A file with the fields prompt and answer."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSONL file to write.")
@click.option("--policy", help="The model that answers prompts without an answer: a folder or an artifact.")
@click.option("--reward", help="The gap reward model, which computes calibrated gaps: a folder or an artifact.")
@click.option("--template", help="The improver's prompt. Default: the template the improver was trained with.")
@click.option(
    "--rounds",
    default=1,
    show_default=True,
    type=click.IntRange(1, 5),
    help="The largest number of improvements of an answer.",
)
@click.option("--threshold", type=float, help="Keep an improved answer only if its calibrated gap is above this.")
@click.option(
    "--temperature", default=0.5, show_default=True, type=click.FloatRange(0), help="The sampling temperature."
)
@click.option(
    "--max-tokens",
    default=256,
    show_default=True,
    type=click.IntRange(1),
    help="The largest number of tokens of an answer.",
)
@STORE
def improve(checkpoint: str, prompts: Path, out: Path, store_path: str, **options: Any) -> None:
    """Improve the answers of a file with an improver trained by PIT.

    CHECKPOINT is a folder, or an artifact of the store.
    """
    from hasse.flows.cli.improve_files import improve_file
    from hasse.pipeline.remote.store import open_store

    rows = improve_file(open_store(store_path), checkpoint, prompts, out, **options)
    changed = sum(row["improved"] != row["answer"] for row in rows)
    click.echo(f"{len(rows)} answers, {changed} changed, in {out}")


@click.command("duel")
@click.argument("first")
@click.argument("second")
@click.option(
    "--questions", type=click.Path(path_type=Path), required=True, help="A file with the fields text and question_id."
)
@click.option("--judge", help="The name of the judge's model at the endpoint.")
@click.option("--reward-model", help="The judge, in place of a chat model: a reward model's folder or hub name.")
@click.option("--base-url", help="The URL of an OpenAI-compatible endpoint. Default: OpenAI.")
@click.option(
    "--api-key-variable",
    default="OPENAI_API_KEY",
    show_default=True,
    help="The environment variable with the endpoint's key.",
)
@click.option("--limit", type=click.IntRange(1), help="Ask only this many questions, the first of the file.")
@click.option(
    "--max-tokens",
    default=512,
    show_default=True,
    type=click.IntRange(1),
    help="The largest number of tokens of an answer.",
)
@click.option(
    "--temperature",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="The sampling temperature of the answers; 0 is greedy.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The seed of sampled answers.")
@click.option("--budget-usd", type=click.FloatRange(0), help="The most that the judge may cost, in dollars.")
@click.option(
    "--max-failed",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="The largest share of questions that may end without a verdict.",
)
@STORE
@JSON
def duel_command(
    first: str,
    second: str,
    questions: Path,
    judge: str | None,
    reward_model: str | None,
    base_url: str | None,
    api_key_variable: str,
    limit: int | None,
    max_tokens: int,
    temperature: float,
    seed: int,
    budget_usd: float | None,
    max_failed: float,
    store_path: str,
    as_json: bool,
) -> None:
    """Compare the answers of two models. The judge is a chat model or a reward model.

    FIRST and SECOND are folders, or artifacts of the store. A chat model sees each pair of answers in both orders.
    """
    from hasse.flows.cli.improve_files import model_of
    from hasse.flows.run.endpoint_keys import check_key
    from hasse.pipeline.remote.store import open_store
    from hasse.stages.chat.cache.file import path_in
    from hasse.stages.chat.money.budget import Account
    from hasse.stages.chat.money.prices import price_of
    from hasse.stages.chat.settings import ChatSettings
    from hasse.stages.evaluate.duel import answers, duel, duel_by_reward, read_questions
    from hasse.stages.models.model_folders import locate

    if (judge is None) == (reward_model is None):
        raise click.UsageError("give either --judge, a chat model, or --reward-model")
    store, asked = open_store(store_path), read_questions(questions, limit)
    how = {"max_tokens": max_tokens, "temperature": temperature}
    folders = [model_of(store, name) for name in (first, second)]
    if judge is None:
        scores_by = locate(reward_model or "", revision=None)
        one, other = (answers(folder, asked, **how, seed=seed + i) for i, folder in enumerate(folders))
        _show_duel(*duel_by_reward(asked, one, other, scores_by), as_json=as_json)
        return
    endpoint = ChatSettings(model=judge, base_url=base_url, api_key_variable=api_key_variable, budget_usd=budget_usd)
    price_of(endpoint)
    check_key(endpoint, where="judge")
    one, other = (answers(folder, asked, **how, seed=seed + i) for i, folder in enumerate(folders))
    rows, rate = duel(asked, one, other, endpoint, payer=Account(replies=path_in(store.root)), max_failed=max_failed)
    _show_duel(rows, rate, as_json=as_json)


def _show_duel(rows: list[dict[str, Any]], rate: Any, *, as_json: bool) -> None:
    """Print the win rate, and with `as_json` the rows."""
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


COMMANDS = (golden, improve, duel_command)
