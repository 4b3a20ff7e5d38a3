"""Two models answer the same questions, and a chat model compares the answers, each pair in both orders."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hasse.data.conversations import text_problem
from hasse.data.errors import SourceError, WorkError
from hasse.data.tables import read_rows
from hasse.data.thinking import split_thinking
from hasse.stages.chat.ask import ask
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.statistics.comparison import PairComparison
from hasse.stages.statistics.win_rate import WinRate, win_rate

SYSTEM = (
    "You compare two answers to a question: which is more helpful, relevant, accurate and detailed? Neither the order "
    "in which they stand nor their length may decide. Give your reasons in a few sentences, then end with a line of "
    "its own: [[A]] if the first is better, [[B]] if the second is, [[C]] for a tie."
)
USER = "The question:\n{question}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}"

VERDICTS = {"A": "win", "B": "lose", "C": "tie"}
TURNED = {"win": "lose", "lose": "win", "tie": "tie", None: None}


def read_questions(path: Path, limit: int | None) -> list[tuple[str, str]]:
    """(id, text) of rows with `text` and perhaps `question_id`. Raises SourceError for a row without text."""
    questions = []
    for number, row in read_rows(path):
        value = row.get("text")
        problem = "is missing or empty" if value is None or value == "" else text_problem(value)
        if problem is not None or not str(value).strip():
            raise SourceError(problem or "is missing or empty", file=path, row=number, field="text")
        questions.append((str(row.get("question_id") or number), str(row["text"])))
    if not questions:
        raise SourceError("holds no rows", file=path)
    return questions[:limit]


def answers(folder: Path, questions: Sequence[tuple[str, str]], *, max_tokens: int) -> list[str]:
    """The model's greedy answers, "" where a question does not fit into its context."""
    from hasse.stages.models.load import load_model, load_tokenizer
    from hasse.stages.models.sample import greedy

    texts = [text for _, text in questions]
    found = greedy(load_model(folder), load_tokenizer(folder), texts, max_tokens=max_tokens, batch_size=16)
    return [sampled.text if sampled else "" for sampled in found]


def duel(
    questions: Sequence[tuple[str, str]],
    first: Sequence[str],
    second: Sequence[str],
    judge: ChatSettings,
    *,
    payer: Payer,
    max_failed: float = 0.05,
) -> tuple[list[dict[str, Any]], WinRate]:
    """A row for each question, with both verdicts from the side of the first model, and the win rate.

    A reply without a verdict is not asked for again. Raises WorkError where the judge's `budget_usd` is too small for
    all questions, and where more than a share `max_failed` of the replies have no verdict. A single such reply is
    accepted, unless it is the only reply or `max_failed` is 0.
    """
    asked = [
        (SYSTEM, USER.format(question=text, a=a, b=b))
        for (_, text), one, other in zip(questions, first, second, strict=True)
        for a, b in ((one, other), (other, one))
    ]
    replies = list(ask(asked, judge, payer=payer))
    if unasked := sum(reply.status == "budget_stopped" for reply in replies):
        raise WorkError(
            f"{unasked} of {len(asked)} questions might have passed budget_usd {judge.budget_usd:g}, so they were not "
            "asked; raise it: the others are not paid for again"
        )
    said = [verdict(reply) for reply in replies]
    _check(replies, said, max_failed)
    comparisons = [
        PairComparison(prompt_id=name, first=said[2 * i], second=TURNED[said[2 * i + 1]])
        for i, (name, _) in enumerate(questions)
    ]
    rows = [
        {**asdict(c), "verdict": c.verdict, "answer": a, "other": b}
        for c, a, b in zip(comparisons, first, second, strict=True)
    ]
    return rows, win_rate(comparisons)


def _check(replies: Sequence[Reply], said: Sequence[Any], max_failed: float) -> None:
    lost = [reply for reply, verdict in zip(replies, said, strict=True) if verdict is None]
    allowed = max(1, int(max_failed * len(said))) if max_failed else 0
    if len(lost) <= allowed and len(lost) < len(said):
        return
    kinds = Counter("without a verdict" if reply.status == "ok" else reply.status for reply in lost)
    errors = Counter(reply.error for reply in lost if reply.error).most_common(1)
    counted = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    commonest = f" The commonest reason, {errors[0][1]} times: {errors[0][0]:.300}." if errors else ""
    raise WorkError(
        f"{len(lost)} of {len(said)} questions to the judge came to nothing ({counted}), and --max-failed "
        f"{max_failed:g} allows {allowed}.{commonest} Mend the endpoint and run the same command: the others are not "
        "paid for again"
    )


def verdict(reply: Reply) -> Any:
    """win, lose or tie for the answer shown first, by the last verdict in the reply; None without a verdict."""
    found = re.findall(r"\[\[([ABC])\]\]", split_thinking(reply.text).answer) if reply.status == "ok" else []
    return VERDICTS[found[-1]] if found else None
