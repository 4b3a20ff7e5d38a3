"""Improve the answers of a file by PIT's improver, and measure by how much where there is a reward model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hasse.data.conversations import parse_conversation, text_problem
from hasse.data.errors import SourceError
from hasse.data.records import Message
from hasse.data.rendering import turns_as_text
from hasse.data.tables import read_rows
from hasse.stages.pit.improver import GapJudge, Improver

BATCH_SIZE = 64


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, with `prompt` or a conversation as `messages`, and perhaps with `answer`.

    A conversation is the prompt, except that its last turn, if by the assistant, is the answer. Raises SourceError for
    a row without a prompt and for values that are no text.
    """
    rows = [_checked(_with_prompt(row, path, number), path, number) for number, row in read_rows(path)]
    if not rows:
        raise SourceError("holds no rows", file=path)
    return rows


def _with_prompt(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    if row.get("messages") is None:
        return row
    try:
        found = parse_conversation(row["messages"])
    except ValueError as error:
        raise SourceError(str(error), file=path, row=number, field="messages") from None
    if found is None or row.get("prompt") is not None:
        problem = "is empty" if found is None else "stands beside a prompt; give one of the two"
        raise SourceError(problem, file=path, row=number, field="messages")
    if found.answer is not None and row.get("answer") not in (None, "", found.answer):
        problem = "is another answer than the last turn of the messages; give one of the two"
        raise SourceError(problem, file=path, row=number, field="answer")
    turns = [asdict(message) for message in found.asked]
    prompt = turns_as_text(found.asked) if len(turns) > 1 else turns[0]["content"]
    return {**row, "messages": turns, "prompt": prompt, "answer": row.get("answer") or found.answer}


def _checked(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    for field in ("prompt", "answer"):
        value = row.get(field)
        problem = text_problem(value) if value is not None else None
        if field == "prompt" and problem is None and not str(value or "").strip():
            problem = "is missing or empty"
        if problem is not None:
            raise SourceError(problem, file=path, row=number, field=field)
    return row


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
    """The rows with `answer`, `improved`, `rounds` and, with a reward model, `gap`.

    A row without an answer gets one from the policy. `rounds` is the number of the last round that changed the answer;
    a row whose prompt does not fit into the context keeps its answer, with 0 rounds. `gap` is the calibrated gap
    between the improved answer and the first.
    """
    from hasse.stages.generate.answers import row_seed
    from hasse.stages.models.load import load_model, load_reward_model, load_tokenizer

    model = load_model(improver)
    judge = GapJudge(load_reward_model(reward, beside=model), load_tokenizer(reward), template) if reward else None
    writer = Improver(
        model=model,
        tokenizer=load_tokenizer(improver),
        template=template,
        temperature=temperature,
        max_tokens=max_tokens,
        batch_size=BATCH_SIZE,
        judge=judge,
        threshold=threshold,
    )
    rows = _answered(rows, policy, beside=model, temperature=temperature, max_tokens=max_tokens, seed=seed)
    for number in range(rounds):
        seeds = [row_seed(seed, str(i), f"round {number}") for i in range(len(rows))]
        new = writer.improved([(row["prompt"], row["improved"]) for row in rows], seeds)
        for row, sampled in zip(rows, new, strict=True):
            if sampled is not None:
                row |= {"improved": sampled.text, "rounds": number + 1}
    if judge:
        gaps = judge.calibrated([(row["prompt"], row["improved"], row["answer"]) for row in rows])
        for row, gap in zip(rows, gaps, strict=True):
            row["gap"] = round(gap, 4)
    return rows


def _answered(
    rows: list[dict[str, Any]], policy: Path | None, *, beside: Any, temperature: float, max_tokens: int, seed: int
) -> list[dict[str, Any]]:
    """Copies of the rows, each with an answer to start from.

    Raises SourceError for a row without an answer where no policy is given.
    """
    from hasse.stages.generate.answers import row_seed
    from hasse.stages.models.load import load_model, load_tokenizer
    from hasse.stages.models.sample import generate
    from hasse.stages.models.tokens import prompt_token_ids

    rows = [dict(row) for row in rows]
    missing = [i for i, row in enumerate(rows) if not str(row.get("answer") or "").strip()]
    if missing and policy is None:
        raise SourceError("is missing; give answers, or a policy to sample them", row=missing[0] + 1, field="answer")
    if missing and policy is not None:
        tokenizer = load_tokenizer(policy)
        sampled = generate(
            load_model(policy, beside=beside),
            tokenizer,
            [prompt_token_ids(tokenizer, rows[i]["prompt"], _turns(rows[i])) for i in missing],
            [row_seed(seed, str(i), "policy") for i in missing],
            temperature=temperature,
            top_p=1.0,
            max_tokens=max_tokens,
            batch_size=BATCH_SIZE,
        )
        for i, found in zip(missing, sampled, strict=True):
            rows[i]["answer"] = found.text
    return [{**row, "improved": row["answer"], "rounds": 0} for row in rows]


def _turns(row: dict[str, Any]) -> list[Message] | None:
    return [Message(**turn) for turn in row["messages"]] if row.get("messages") else None


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
