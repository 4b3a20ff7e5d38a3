"""Whether an answer is right, by rule: a label from a closed set, or one of the gold short answers."""

import re
from dataclasses import dataclass
from functools import lru_cache

from pydantic import Field

from data.config import Config
from data.records import Prompt
from data.text import normalise_answer


class TaskSettings(Config):
    labels: tuple[str, ...] = Field(
        default=(), description="The closed set of labels; leave it empty for questions with gold short answers."
    )

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

    def correct(self, task: TaskSettings) -> bool:
        return self.correct_strict if task.primary == "strict" else self.correct_loose

    def label(self, task: TaskSettings) -> str | None:
        return self.label_strict if task.primary == "strict" else self.label_loose


def grade(text: str, prompt: Prompt, task: TaskSettings) -> Grade:
    """Labels: strict reads the last line, which must be `label: X`; loose takes the label word that occurs last.

    Questions: strict is exact match, loose is "contains a gold answer", both after SQuAD's normalisation.
    """
    return _grade_label(text, prompt, task.labels) if task.labels else _grade_answer(text, prompt)


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


def _grade_answer(text: str, prompt: Prompt) -> Grade:
    answer = normalise_answer(text)
    golds = {gold: normalise_answer(gold) for gold in prompt.answers}
    exact = next((gold for gold, normal in golds.items() if normal == answer), None)
    inside = next((gold for gold, normal in golds.items() if normal and normal in answer), None)
    return Grade(
        label_strict=exact, label_loose=inside, correct_strict=exact is not None, correct_loose=inside is not None
    )


@lru_cache
def _any_label(labels: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted((label.lower() for label in labels), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b")
