"""Improve answers from a file by PIT's improver, with the calibrated gap of each where there is a reward model."""

import json
from pathlib import Path
from typing import Any

from data.errors import SourceError
from data.tables import read_rows
from stages.improvement import GapJudge, Improver

BATCH_SIZE = 64


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Rows with `prompt` and perhaps `answer`. Raises SourceError for a row without a prompt."""
    rows = []
    for number, row in read_rows(path):
        if not str(row.get("prompt") or "").strip():
            raise SourceError("is missing or empty", file=path, row=number, field="prompt")
        rows.append(row)
    if not rows:
        raise SourceError("holds no rows", file=path)
    return rows


def improve(
    rows: list[dict[str, Any]],
    *,
    improver: Path,
    policy: Path | None,
    reward: Path | None,
    template: str,
    rounds: int,
    threshold: float | None,
    temperature: float,
    max_tokens: int,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The rows with `answer` (the policy's where none was given), `improved`, `rounds` taken and, with a reward model,

    `gap`: the calibrated gap between the two. A row whose prompt does not fit keeps its answer, with 0 rounds.
    """
    from stages.models import load_model, load_reward_model, load_tokenizer
    from stages.sampling import row_seed

    judge = GapJudge(load_reward_model(reward), load_tokenizer(reward), template) if reward else None
    writer = Improver(
        model=load_model(improver),
        tokenizer=load_tokenizer(improver),
        template=template,
        temperature=temperature,
        max_tokens=max_tokens,
        batch_size=BATCH_SIZE,
        judge=judge,
        threshold=threshold,
    )
    rows = _answered(rows, policy, temperature=temperature, max_tokens=max_tokens, seed=seed)
    for number in range(rounds):
        seeds = [row_seed(seed, str(i), f"round {number}") for i in range(len(rows))]
        found = writer.improved([(row["prompt"], row["improved"]) for row in rows], seeds)
        for row, sampled in zip(rows, found, strict=True):
            if sampled is not None:
                row |= {"improved": sampled.text, "rounds": number + 1}
    if judge:
        gaps = judge.calibrated([(row["prompt"], row["improved"], row["answer"]) for row in rows])
        for row, gap in zip(rows, gaps, strict=True):
            row["gap"] = round(gap, 4)
    return rows


def _answered(
    rows: list[dict[str, Any]], policy: Path | None, *, temperature: float, max_tokens: int, seed: int
) -> list[dict[str, Any]]:
    """Copies of the rows, each with an answer to start from. Raises SourceError when one has none and no policy is."""
    from stages.models import load_model, load_tokenizer
    from stages.samplers.transformers import generate
    from stages.sampling import row_seed
    from stages.tokens import prompt_token_ids

    rows = [dict(row) for row in rows]
    missing = [i for i, row in enumerate(rows) if not str(row.get("answer") or "").strip()]
    if missing and policy is None:
        raise SourceError("is missing; give answers, or a policy to sample them", row=missing[0] + 1, field="answer")
    if missing and policy is not None:
        tokenizer = load_tokenizer(policy)
        sampled = generate(
            load_model(policy),
            tokenizer,
            [prompt_token_ids(tokenizer, rows[i]["prompt"]) for i in missing],
            [row_seed(seed, str(i), "policy") for i in missing],
            temperature=temperature,
            top_p=1.0,
            max_tokens=max_tokens,
            batch_size=BATCH_SIZE,
        )
        for i, found in zip(missing, sampled, strict=True):
            rows[i]["answer"] = found.text
    return [{**row, "improved": row["answer"], "rounds": 0} for row in rows]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
