"""Two models answer the same questions, and a judge compares the answers.

A chat model compares each pair in both orders. A reward model scores each answer, and the higher score wins.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hasse.data.conversations import text_problem
from hasse.data.errors import SourceError, WorkError
from hasse.data.records import Prompt
from hasse.data.tables import read_rows
from hasse.data.thinking import split_thinking
from hasse.stages.chat.ask import ask
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.statistics.comparison import PairComparison, Verdict
from hasse.stages.statistics.win_rate import WinRate, win_rate

SYSTEM = (
    "You compare two answers to a question: which is more helpful, relevant, accurate and detailed? Neither the order "
    "in which they stand nor their length may decide. Give your reasons in a few sentences, then end with a line of "
    "its own: [[A]] if the first is better, [[B]] if the second is, [[C]] for a tie."
)
USER = "The question:\n{question}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}"

MICRO_BATCH_TOKENS = 16384
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


def answers(
    folder: Path, questions: Sequence[tuple[str, str]], *, max_tokens: int, temperature: float = 0.0, seed: int = 0
) -> list[str]:
    """The model's answers, "" where a question does not fit into its context. At temperature 0 they are greedy."""
    from hasse.stages.generate.answers import row_seed
    from hasse.stages.models.load import load_model, load_tokenizer
    from hasse.stages.models.sample import sampled_texts

    found = sampled_texts(
        load_model(folder),
        load_tokenizer(folder),
        [text for _, text in questions],
        [row_seed(seed, name) for name, _ in questions],
        temperature=temperature,
        max_tokens=max_tokens,
        batch_size=16,
    )
    return [sampled.text if sampled else "" for sampled in found]


def duel_by_reward(
    questions: Sequence[tuple[str, str]], first: Sequence[str], second: Sequence[str], folder: Path
) -> tuple[list[dict[str, Any]], WinRate]:
    """The rows and the win rate of `duel`, with the scores of a reward model as the judge.

    A pair with an answer that does not fit into the reward model's context has no verdict.
    """
    from hasse.stages.models.scalar_head import load

    reward = load(folder)
    prompts = [Prompt(prompt_id=name, text=text, source="", cluster_id=name, split="test") for name, text in questions]
    texts = [reward.encode(p, a) for answered in (first, second) for p, a in zip(prompts, answered, strict=True)]
    scores = reward.scores(texts, micro_batch_tokens=MICRO_BATCH_TOKENS)
    pairs = list(zip(scores[: len(prompts)], scores[len(prompts) :], strict=True))
    verdicts: list[Verdict | None] = [_higher(a, b) for a, b in pairs]
    comparisons = [
        PairComparison(prompt_id=name, first=verdict, second=verdict)
        for (name, _), verdict in zip(questions, verdicts, strict=True)
    ]
    rows = [
        {**row, "score": a, "other_score": b}
        for row, (a, b) in zip(_rows(comparisons, first, second), pairs, strict=True)
    ]
    return rows, win_rate(comparisons)


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
    return _rows(comparisons, first, second), win_rate(comparisons)


def _higher(score: float | None, other: float | None) -> Verdict | None:
    if score is None or other is None:
        return None
    return "win" if score > other else "lose" if score < other else "tie"


def _rows(comparisons: Sequence[PairComparison], first: Sequence[str], second: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {**asdict(c), "verdict": c.verdict, "answer": a, "other": b}
        for c, a, b in zip(comparisons, first, second, strict=True)
    ]


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
