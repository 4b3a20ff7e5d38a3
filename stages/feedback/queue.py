"""Feedback by people: write a queue of answers as JSONL, then read filled copies back and check each line.

    {"item": "1f0c...", "prompt": ..., "answer": ..., "right_answer": ..., "verdict": "", "feedback": "", ...}

A filled line states a verdict (right or wrong), the feedback and who wrote it. A line without feedback is skipped, and
several people may annotate the same item.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from hasse.data.conversations import text_problem
from hasse.data.errors import InputError, SourceError
from hasse.data.records import Feedback
from hasse.data.rendering import prompt_as_text
from hasse.data.tables import read_rows
from hasse.data.text import is_blank, short_digest
from hasse.stages.feedback.items import RIGHT, WRONG, AnnotationItem, right_answer
from hasse.stages.grading import TaskSettings

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
    """One line of the queue. item: a digest of the ids and texts, by which a changed text is noticed."""

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
class AnnotatorAgreement:
    """The agreement of people who annotated the same items.

    num_pairs: the pairs of verdicts by two people on one item. agreement: the share of these pairs that are equal, None
    without a pair. kappa: Cohen's kappa of two people; of more, the mean over every two who share items, weighted by
    the number of shared items. Two people who gave the same verdict throughout have no kappa, because agreement by
    chance is certain; they are left out of the mean, and kappa is None if nobody else is left.
    """

    num_pairs: int
    agreement: float | None
    kappa: float | None


def queue(items: Iterable[AnnotationItem], task: TaskSettings) -> Iterator[QueueLine]:
    """One empty line for each item."""
    for item in items:
        given = (*item.ids, prompt_as_text(item.prompt), item.candidate.text, right_answer(item.prompt, task))
        yield QueueLine(item=short_digest(*given), **dict(zip(GIVEN, given, strict=True)))


def write_queue(lines: Iterable[QueueLine], path: Path) -> int:
    """Write the queue, with the guidelines beside it, and return the number of lines."""
    written = [json.dumps(asdict(line), ensure_ascii=False) for line in lines]
    path.write_text("".join(line + "\n" for line in written), encoding="utf-8")
    path.with_suffix(".guidelines.md").write_text(GUIDELINES, encoding="utf-8")
    return len(written)


def read_filled(path: Path, queue_path: Path) -> list[Feedback]:
    """The feedback in the filled lines of a file, in the order of the queue.

    Raises SourceError, naming the line, for a line that is not in the queue, has changed texts or an unknown verdict,
    does not say who wrote it, or was filled twice by one person.
    """
    known = {str(row["item"]): row for _, row in read_rows(queue_path, "jsonl")}
    filled: dict[tuple[str, str], Feedback] = {}
    for number, row in read_rows(path, "jsonl"):
        feedback = _checked(row, known, path, number)
        if feedback is None:
            continue
        key = (str(row["item"]), feedback.annotator_id)
        if key in filled:
            raise SourceError(
                f"{feedback.annotator_id!r} has annotated this item before", file=path, row=number, field="annotator"
            )
        filled[key] = feedback
    place = {item: i for i, item in enumerate(known)}
    return [filled[key] for key in sorted(filled, key=lambda key: (place[key[0]], key[1]))]


def agreement(rows: Iterable[Feedback]) -> AnnotatorAgreement:
    """Measure how far every two people agree on the same items. Raises InputError if a person judged an item twice."""
    shared = _shared(rows)
    pairs = [pair for verdicts in shared.values() for pair in verdicts]
    if not pairs:
        return AnnotatorAgreement(num_pairs=0, agreement=None, kappa=None)
    kappas = [(len(verdicts), kappa) for verdicts in shared.values() if (kappa := cohen_kappa(verdicts)) is not None]
    weight = sum(number for number, _ in kappas)
    return AnnotatorAgreement(
        num_pairs=len(pairs),
        agreement=sum(a == b for a, b in pairs) / len(pairs),
        kappa=sum(number * kappa for number, kappa in kappas) / weight if weight else None,
    )


def cohen_kappa(verdicts: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two people's verdicts; None where both gave one and the same verdict throughout."""
    from sklearn.metrics import cohen_kappa_score

    if len({verdict for pair in verdicts for verdict in pair}) < 2:
        return None
    first, second = zip(*verdicts, strict=True)
    return float(cohen_kappa_score(first, second))


def _shared(rows: Iterable[Feedback]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Two people, sorted by name -> the verdicts of both on each item that both judged."""
    by_item: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        verdicts = by_item.setdefault((row.prompt_id, row.candidate_id), {})
        if row.annotator_id in verdicts:
            raise InputError(
                f"{row.annotator_id!r} has annotated answer {row.candidate_id} to prompt {row.prompt_id} twice; "
                "remove one of the two lines"
            )
        verdicts[row.annotator_id] = row.verdict or ""
    shared: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for verdicts in by_item.values():
        for first, second in combinations(sorted(name for name, verdict in verdicts.items() if verdict), 2):
            shared.setdefault((first, second), []).append((verdicts[first], verdicts[second]))
    return shared


def _checked(row: dict[str, Any], known: dict[str, dict[str, Any]], path: Path, number: int) -> Feedback | None:
    """The feedback in one line, or None for a line that is not filled."""
    line = known.get(str(row.get("item")))
    if line is None:
        raise SourceError(f"{row.get('item')!r} is not in the queue", file=path, row=number, field="item")
    for field in GIVEN:
        if row.get(field) != line[field]:
            raise SourceError("was changed; it must stay as the queue has it", file=path, row=number, field=field)
    text, verdict, annotator = (_typed(row, field, path, number) for field in ("feedback", "verdict", "annotator"))
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


def _typed(row: dict[str, Any], field: str, path: Path, number: int) -> str:
    """The text that somebody has typed into a field, "" if it shows nothing. Raises SourceError if it is no text."""
    value = row.get(field)
    if value is not None and (problem := text_problem(value)):
        raise SourceError(problem, file=path, row=number, field=field)
    return "" if value is None or is_blank(value) else value.strip()
