"""Improve answers from a file by PIT's improver, with the calibrated gap of each where there is a reward model."""

import json
from pathlib import Path
from typing import Any

from data.errors import SourceError
from data.tables import read_rows
from stages.improvement import GapJudge, improver_ids


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

    `gap`: the calibrated gap between the two. A row whose prompt does not fit keeps its answer, with an `error`.
    """
    from stages.models import context_length, load_model, load_reward_model, load_tokenizer
    from stages.samplers.transformers import generate, row_seed
    from stages.tokens import prompt_token_ids

    tokenizer, model = load_tokenizer(improver), load_model(improver)
    judge = GapJudge(load_reward_model(reward), load_tokenizer(reward), template) if reward else None
    room = context_length(model) - max_tokens

    def ask(asked: Any, tokenizer: Any, ids: list[list[int]], name: str) -> list[str]:
        seeds = [row_seed(seed, str(i), name) for i in range(len(ids))]
        found = generate(
            asked,
            tokenizer,
            ids,
            seeds,
            temperature=temperature,
            top_p=1.0,
            max_tokens=max_tokens,
            batch_size=64,
        )
        return [sampled.text for sampled in found]

    missing = [i for i, row in enumerate(rows) if not str(row.get("answer") or "").strip()]
    rows = [dict(row) for row in rows]
    if missing and policy is None:
        raise SourceError("is missing; give answers, or a policy to sample them", row=missing[0] + 1, field="answer")
    if missing and policy is not None:
        asked = [prompt_token_ids(load_tokenizer(policy), rows[i]["prompt"]) for i in missing]
        first = ask(load_model(policy), load_tokenizer(policy), asked, "policy")
        for i, text in zip(missing, first, strict=True):
            rows[i]["answer"] = text
    for row in rows:
        row |= {"improved": row["answer"], "rounds": 0}
    for number in range(rounds):
        ids = [improver_ids(tokenizer, row["prompt"], row["improved"], template) for row in rows]
        fits = [i for i, found in enumerate(ids) if len(found) <= room]
        tried = ask(model, tokenizer, [ids[i] for i in fits], f"round {number}")
        texts = [(rows[i]["prompt"], text, rows[i]["improved"]) for i, text in zip(fits, tried, strict=True)]
        gaps = judge.calibrated(texts) if judge else None
        for place, (i, text) in enumerate(zip(fits, tried, strict=True)):
            if threshold is None or gaps is None or gaps[place] > threshold:
                rows[i] |= {"improved": text, "rounds": number + 1}
        for i in set(range(len(rows))) - set(fits):
            rows[i]["error"] = "prompt and answer do not fit into the improver's context"
    if judge:
        gaps = judge.calibrated([(row["prompt"], row["improved"], row["answer"]) for row in rows])
        for row, gap in zip(rows, gaps, strict=True):
            row["gap"] = round(gap, 4)
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
