"""Whether an answer is right, by rule: a label from a closed set, or one of the gold short answers."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pydantic import Field

from data.config import Config
from data.records import Prompt
from data.text import normalise_answer


class TaskSettings(Config):
    labels: tuple[str, ...] = Field(
        default=(), description="The closed set of labels; leave it empty for questions with gold short answers."
    )

    no_answer: str | None = Field(
        default=None, description="What an answer says when the question has none; leave it out if all have one."
    )

    score: Literal["f1", "edit"] = Field(
        default="f1",
        description="How near an answer is to a gold one, 0 to 1. f1: SQuAD's overlap of words; "
        "edit: 1 - edit distance in words / words of the gold answer.",
    )

    def has_gold(self, prompt: Prompt) -> bool:
        """Whether an answer to this prompt can be called right or wrong."""
        return bool(prompt.label or prompt.answers) or (self.no_answer is not None and not self.labels)

    @property
    def primary(self) -> str:
        """The reading that decides what is right: strict for labels, loose (contains the answer) for questions."""
        return "strict" if self.labels else "loose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """label_*: what the answer states, None when nothing; for questions, the gold answer that was found."""

    label_strict: str | None
    label_loose: str | None
    correct_strict: bool
    correct_loose: bool
    score: float | None = None

    def correct(self, task: TaskSettings) -> bool:
        return self.correct_strict if task.primary == "strict" else self.correct_loose

    def label(self, task: TaskSettings) -> str | None:
        return self.label_strict if task.primary == "strict" else self.label_loose


def grade(text: str, prompt: Prompt, task: TaskSettings) -> Grade:
    """Labels: strict reads the last line, which must be `label: X`; loose takes the label word that occurs last.

    Questions: strict is SQuAD's exact match, loose is "contains a gold answer" after the same normalisation.
    """
    return _grade_label(text, prompt, task.labels) if task.labels else _grade_answer(text, prompt, task)


def stated(text: str, prompt: Prompt, task: TaskSettings) -> tuple[str | None, bool | None]:
    """(what the answer states, whether that is right; None where the prompt has no gold)."""
    result = grade(text, prompt, task)
    return result.label(task), result.correct(task) if task.has_gold(prompt) else None


def strict_label(text: str, labels: tuple[str, ...]) -> str | None:
    last = text.strip().rsplit("\n", 1)[-1].strip().lower()
    return next((label for label in labels if last == f"label: {label.lower()}"), None)


def loose_label(text: str, labels: tuple[str, ...]) -> str | None:
    found = _any_label(labels).findall(text.lower())
    return next(label for label in labels if label.lower() == found[-1]) if found else None


def _grade_label(text: str, prompt: Prompt, labels: tuple[str, ...]) -> Grade:
    strict, loose = strict_label(text, labels), loose_label(text, labels)
    gold = (prompt.label or "").lower()
    return Grade(
        label_strict=strict,
        label_loose=loose,
        correct_strict=strict is not None and strict.lower() == gold,
        correct_loose=loose is not None and loose.lower() == gold,
    )


def exact_match(prediction: str, gold: str) -> bool:
    """SQuAD's: equal after normalisation."""
    return normalise_answer(prediction) == normalise_answer(gold)


def token_f1(prediction: str, gold: str) -> float:
    """SQuAD's: F1 of the words after normalisation; where one of the two is empty, 1 if both are."""
    found, wanted = normalise_answer(prediction).split(), normalise_answer(gold).split()
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def edit_similarity(prediction: str, gold: str) -> float:
    """1 - edit distance / length of the gold answer, in words, not below 0."""
    found, wanted = prediction.split(), gold.split()
    if not wanted:
        return float(not found)
    row = list(range(len(found) + 1))
    for i, word in enumerate(wanted, 1):
        previous, row = row, [i]
        for j, other in enumerate(found, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (word != other)))
    return max(0.0, 1 - row[-1] / len(wanted))


SCORES = {"f1": token_f1, "edit": edit_similarity}


def _grade_answer(text: str, prompt: Prompt, task: TaskSettings) -> Grade:
    """A question without an answer has the gold answer "", and an answer that says so is taken as ""."""
    golds = prompt.answers or ("",)
    stated = "" if task.no_answer is not None and exact_match(text, task.no_answer) else text
    exact = next((gold for gold in golds if exact_match(stated, gold)), None)
    normal = normalise_answer(stated)
    inside = next((gold for gold in golds if normalise_answer(gold) and normalise_answer(gold) in normal), None)
    return Grade(
        label_strict=exact,
        label_loose=inside if prompt.answers else exact,
        correct_strict=exact is not None,
        correct_loose=(inside if prompt.answers else exact) is not None,
        score=max(SCORES[task.score](stated, gold) for gold in golds),
    )


@lru_cache
def _any_label(labels: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted((label.lower() for label in labels), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b")
