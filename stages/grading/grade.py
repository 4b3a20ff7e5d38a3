"""The grade of one answer: what the answer states and whether that is right, by each reading."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from hasse.data.records import Prompt
from hasse.data.thinking import split_thinking
from hasse.stages.grading import answers, labels, mathematics
from hasse.stages.grading.denial import asks_for_what_is_not
from hasse.stages.grading.nearness import SCORES
from hasse.stages.grading.statements import without_struck
from hasse.stages.grading.task import READINGS, Reading, TaskSettings

_LABELS: dict[Reading, Callable[[str, tuple[str, ...]], str | None]] = {
    "strict": labels.strict, "loose": labels.loose, "first": labels.first,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """label_*: the label that the answer states, or for questions the gold answer that it gives; None for neither.

    correct_*: None where the prompt has no gold answer. score: the similarity to the most similar gold answer.
    """

    label_strict: str | None
    label_loose: str | None
    label_first: str | None
    correct_strict: bool | None
    correct_loose: bool | None
    correct_first: bool | None
    score: float | None = None

    def correct(self, task: TaskSettings) -> bool | None:
        """`correct_*` by the task's reading."""
        return getattr(self, f"correct_{task.primary}")

    def label(self, task: TaskSettings) -> str | None:
        """`label_*` by the task's reading."""
        return getattr(self, f"label_{task.primary}")


def grade(text: str, prompt: Prompt, task: TaskSettings) -> Grade:
    """The grade of an answer. Its thinking, and what it has struck out, are cut off first."""
    said = without_struck(split_thinking(text).answer)
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
    """(label, correct) by the task's reading; correct is None where the prompt has no gold answer."""
    result = grade(text, prompt, task)
    return result.label(task), result.correct(task)


def _labels(text: str, task: TaskSettings) -> dict[Reading, str | None]:
    return {reading: _LABELS[reading](text, task.labels) for reading in READINGS}


def _right_labels(found: dict[Reading, str | None], prompt: Prompt) -> dict[Reading, bool]:
    gold = (prompt.label or "").strip().casefold()
    return {reading: label is not None and label.strip().casefold() == gold for reading, label in found.items()}


def _golds(text: str, prompt: Prompt, task: TaskSettings) -> dict[Reading, str | None]:
    """Give, for each reading, the first gold answer that the text states.

    A question without an answer has the gold answer "", and a text that says there is no answer gives "".
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
    """Give, for each reading, the function that tells whether a text states a gold answer.

    asks_not: the question asks for what is not so.
    """
    return {
        "strict": answers.strict,
        "loose": partial(answers.loose, asks_not=asks_not),
        "first": partial(answers.first, asks_not=asks_not),
    }


def _score(text: str, prompt: Prompt, task: TaskSettings) -> float | None:
    """The similarity to the nearest gold answer, else to the expert's; None for labels, or where there is neither."""
    if task.labels:
        return None
    if not task.has_gold(prompt):
        return None if prompt.reference is None else SCORES[task.score](text, prompt.reference)
    declines = task.no_answer is not None and answers.strict(text, task.no_answer)
    return max(SCORES[task.score]("" if declines else text, gold) for gold in prompt.answers or ("",))
