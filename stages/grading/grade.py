"""One answer graded: what it states and whether that is right, by every reading at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from hasse.data.records import Prompt
from hasse.data.thinking import split_thinking
from hasse.stages.grading import answers, labels, mathematics
from hasse.stages.grading.denial import asks_for_what_is_not
from hasse.stages.grading.nearness import SCORES
from hasse.stages.grading.task import READINGS, Reading, TaskSettings

_LABELS: dict[Reading, Callable[[str, tuple[str, ...]], str | None]] = {
    "strict": labels.strict, "loose": labels.loose, "first": labels.first,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """label_*: what the answer states, None when nothing; for questions, the gold answer that was found.

    correct_*: None where the prompt has no gold answer. score: nearness to the nearest gold answer.
    """

    label_strict: str | None
    label_loose: str | None
    label_first: str | None
    correct_strict: bool | None
    correct_loose: bool | None
    correct_first: bool | None
    score: float | None = None

    def correct(self, task: TaskSettings) -> bool | None:
        """By the reading of the task."""
        return getattr(self, f"correct_{task.primary}")

    def label(self, task: TaskSettings) -> str | None:
        """By the reading of the task."""
        return getattr(self, f"label_{task.primary}")


def grade(text: str, prompt: Prompt, task: TaskSettings) -> Grade:
    """The grade of an answer, whose thinking is cut off first."""
    said = split_thinking(text).answer
    found = _labels(said, task) if task.labels else _golds(said, prompt, task)
    right = _right_labels(found, prompt) if task.labels else {reading: found[reading] is not None for reading in found}
    known = task.has_gold(prompt)
    return Grade(
        label_strict=found["strict"],
        label_loose=found["loose"],
        label_first=found["first"],
        correct_strict=right["strict"] if known else None,
        correct_loose=right["loose"] if known else None,
        correct_first=right["first"] if known else None,
        score=_score(said, prompt, task),
    )


def stated(text: str, prompt: Prompt, task: TaskSettings) -> tuple[str | None, bool | None]:
    """(what the answer states, whether that is right; None where the prompt has no gold), by the task's reading."""
    result = grade(text, prompt, task)
    return result.label(task), result.correct(task)


def _labels(text: str, task: TaskSettings) -> dict[Reading, str | None]:
    return {reading: _LABELS[reading](text, task.labels) for reading in READINGS}


def _right_labels(found: dict[Reading, str | None], prompt: Prompt) -> dict[Reading, bool]:
    gold = (prompt.label or "").strip().casefold()
    return {reading: label is not None and label.strip().casefold() == gold for reading, label in found.items()}


def _golds(text: str, prompt: Prompt, task: TaskSettings) -> dict[Reading, str | None]:
    """The first gold answer that each reading finds. A question without an answer has the gold answer "", and an answer

    that says so is taken as "".
    """
    golds = [gold for gold in prompt.answers if gold.strip()]
    readers = _readers(asks_not=asks_for_what_is_not(prompt.text))
    found: dict[Reading, str | None] = {}
    for reading in READINGS:
        declines = task.no_answer is not None and readers[reading](text, task.no_answer)
        if not golds:
            found[reading] = "" if declines or not text.strip() else None
        else:
            finds = mathematics.equal if task.answers_are == "math" else readers[reading]
            found[reading] = None if declines else next((gold for gold in golds if finds(text, gold)), None)
    return found


@lru_cache(maxsize=2)
def _readers(*, asks_not: bool) -> dict[Reading, Callable[[str, str], bool]]:
    """Whether an answer gives a gold answer, by each reading. asks_not: the question asks for what is not."""
    return {
        "strict": answers.strict,
        "loose": partial(answers.loose, asks_not=asks_not),
        "first": partial(answers.first, asks_not=asks_not),
    }


def _score(text: str, prompt: Prompt, task: TaskSettings) -> float | None:
    """None for labels, and where there is neither a gold answer nor an expert's to be near to."""
    if task.labels:
        return None
    if not task.has_gold(prompt):
        return None if prompt.reference is None else SCORES[task.score](text, prompt.reference)
    declines = task.no_answer is not None and answers.strict(text, task.no_answer)
    return max(SCORES[task.score]("" if declines else text, gold) for gold in prompt.answers or ("",))
