"""Feedback by people: a queue of answers as JSONL goes out, filled copies come back, checked line by line.

    {"item": "1f0c...", "prompt": ..., "answer": ..., "right_answer": ..., "verdict": "", "feedback": "", ...}

A filled line states a verdict (right or wrong), the feedback and who wrote it. Lines without feedback are left for
later; several people may annotate one item.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from data.errors import SourceError
from data.records import Feedback
from data.rendering import shown
from data.tables import read_rows
from data.text import short_digest
from stages.feedback_items import RIGHT, WRONG, Item, right_answer
from stages.grading import TaskSettings

GUIDELINES = """# How to annotate

Each line of the queue is one answer of a model. Fill in three fields and leave the others as they are:

* `verdict`: `right` or `wrong`. Compare with `right_answer`, and read the prompt: other words may say the same.
* `feedback`: one to three sentences to the one who answered. Say whether the answer is right, why, and if it is wrong
  what the right answer is. Speak of this answer, not of answers in general.
* `annotator`: your name or initials, the same on every line.

Leave a line as it is if you cannot tell. A file that is only partly filled can be handed in, and gone on with later.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLine:
    """One line of the queue. item: digest of the ids and texts, so that a changed text is noticed."""

    item: str
    prompt_id: str
    candidate_id: str
    prompt: str
    answer: str
    right_answer: str
    verdict: str = ""
    feedback: str = ""
    annotator: str = ""


GIVEN = ("prompt_id", "candidate_id", "prompt", "answer", "right_answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of items that two people annotated: how many pairs of verdicts, the share that agrees, and Cohen's kappa."""

    num_pairs: int
    agreement: float | None
    kappa: float | None


def queue(items: Iterable[Item], task: TaskSettings) -> Iterator[QueueLine]:
    for item in items:
        given = (*item.ids, shown(item.prompt), item.candidate.text, right_answer(item.prompt, task))
        yield QueueLine(item=short_digest(*given), **dict(zip(GIVEN, given, strict=True)))


def write_queue(lines: Iterable[QueueLine], path: Path) -> int:
    """The queue, and the guidelines beside it; gives the number of lines."""
    written = [json.dumps(asdict(line), ensure_ascii=False) for line in lines]
    path.write_text("".join(line + "\n" for line in written), encoding="utf-8")
    path.with_suffix(".guidelines.md").write_text(GUIDELINES, encoding="utf-8")
    return len(written)


def read_filled(path: Path, queue_path: Path) -> list[Feedback]:
    """The filled lines of a file, as feedback of people, in the order of the queue.

    Raises SourceError, naming the line, for a line that is not of the queue, whose texts were changed, whose verdict is
    unknown, that does not say who wrote it, or that one person filled twice.
    """
    known = {str(row["item"]): row for _, row in read_rows(queue_path, "jsonl")}
    found: dict[tuple[str, str], Feedback] = {}
    for number, row in read_rows(path, "jsonl"):
        feedback = _checked(row, known, path, number)
        if feedback is None:
            continue
        key = (str(row["item"]), feedback.annotator_id)
        if key in found:
            raise SourceError(
                f"{feedback.annotator_id!r} has annotated this item before", file=path, row=number, field="annotator"
            )
        found[key] = feedback
    place = {item: i for i, item in enumerate(known)}
    return [found[key] for key in sorted(found, key=lambda key: (place[key[0]], key[1]))]


def agreement(rows: list[Feedback]) -> Agreement:
    """Between every two people on the same item."""
    by_item: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        by_item.setdefault((row.prompt_id, row.candidate_id), []).append(row.verdict or "")
    pairs = [pair for verdicts in by_item.values() for pair in combinations(verdicts, 2)]
    if not pairs:
        return Agreement(num_pairs=0, agreement=None, kappa=None)
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    share = sum((a == RIGHT) + (b == RIGHT) for a, b in pairs) / (2 * len(pairs))
    by_chance = share**2 + (1 - share) ** 2
    kappa = (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else None
    return Agreement(num_pairs=len(pairs), agreement=agreed, kappa=kappa)


def _checked(row: dict[str, Any], known: dict[str, dict[str, Any]], path: Path, number: int) -> Feedback | None:
    """None for a line that is still to be filled."""
    line = known.get(str(row.get("item")))
    if line is None:
        raise SourceError(f"{row.get('item')!r} is not in the queue", file=path, row=number, field="item")
    for field in GIVEN:
        if row.get(field) != line[field]:
            raise SourceError("was changed; it must stay as the queue has it", file=path, row=number, field=field)
    text, verdict, annotator = (str(row.get(f) or "").strip() for f in ("feedback", "verdict", "annotator"))
    if not text and not verdict:
        return None
    if not text:
        raise SourceError("is empty although there is a verdict", file=path, row=number, field="feedback")
    if verdict.lower() not in (RIGHT, WRONG):
        raise SourceError(f"{verdict!r} is neither {RIGHT} nor {WRONG}", file=path, row=number, field="verdict")
    if not annotator:
        raise SourceError("does not say who wrote the feedback", file=path, row=number, field="annotator")
    return Feedback(
        prompt_id=row["prompt_id"],
        candidate_id=row["candidate_id"],
        text=text,
        verdict=verdict.lower(),
        annotator="human",
        annotator_id=annotator,
    )
