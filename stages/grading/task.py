"""The section `task` of a recipe: which answers are right, and how an answer is read."""

from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from hasse.data.records import Prompt
from hasse.data.settings import Config
from hasse.stages.grading.labels import pattern
from hasse.stages.grading.mathematics import check_installed

Reading = Literal["strict", "loose", "first"]
READINGS: tuple[Reading, ...] = get_args(Reading)

_OF_LABELS = {
    "strict": "the last line is `label: X` or `the answer is X`, or the whole answer is X",
    "loose": "the last label that is stated as the answer counts, else the last that is mentioned and not denied",
    "first": "the first label that is mentioned and not denied counts",
}
_OF_QUESTIONS = {
    "strict": "the answer equals a gold answer (SQuAD's exact match; numbers by value, symbols kept)",
    "loose": "the answer contains a gold answer as whole words, and does not deny it",
    "first": "the first statement of the answer contains a gold answer as whole words, and does not deny it",
}
_OF_MATHEMATICS = "the last mathematical expression of the answer equals a gold answer, by math-verify"


class TaskSettings(Config):
    labels: tuple[str, ...] = Field(
        default=(), description="The closed set of labels; leave it empty for questions with gold short answers."
    )

    no_answer: str | None = Field(
        default=None,
        description="The text of an answer to a question that has no answer; leave it out if all questions have one.",
    )

    score: Literal["f1", "edit"] = Field(
        default="f1",
        description="The similarity of an answer to a gold answer, 0 to 1. f1: SQuAD's overlap of words; "
        "edit: 1 - edit distance in words / words of the gold answer.",
    )

    reading: Reading | None = Field(
        default=None,
        description="How an answer is read when it is judged, annotated and evaluated; docs/reading.md has examples. "
        "strict: the answer gives the label or the gold answer and nothing else; loose: the answer states it anywhere; "
        "first: only the first statement counts. Left out: strict for labels, loose for questions.",
    )

    answers_are: Literal["text", "math"] = Field(
        default="text",
        description="math: gold answers are compared by the package math-verify (1/2 is 0.5), in every reading.",
    )

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Labels must differ in more than case, spaces, hyphens and forms of Unicode, and none may be empty."""
        read = [pattern(label).pattern for label in labels]
        if not all(label.strip() for label in labels) or len(set(read)) < len(read):
            raise ValueError(
                f"the labels must be different words, found {', '.join(map(repr, labels))}; "
                "case, and whether a space or a hyphen stands between words, does not count"
            )
        return labels

    @model_validator(mode="after")
    def _math_has_answers(self) -> "TaskSettings":
        if self.answers_are == "math" and self.labels:
            raise ValueError("answers_are: math compares gold answers; a task with labels has none, so leave one out")
        if self.answers_are == "math":
            check_installed()
        return self

    def has_gold(self, prompt: Prompt) -> bool:
        """Whether an answer to this prompt can be called right or wrong."""
        if self.labels:
            return bool(prompt.label)
        return any(answer.strip() for answer in prompt.answers) or (self.no_answer is not None and not prompt.answers)

    @property
    def primary(self) -> Reading:
        """The reading that decides whether an answer is correct."""
        return self.reading or ("strict" if self.labels else "loose")

    def in_words(self, reading: Reading | None = None) -> str:
        """A sentence for reports: which answers a reading counts as correct."""
        if self.answers_are == "math":
            return _OF_MATHEMATICS
        return (_OF_LABELS if self.labels else _OF_QUESTIONS)[reading or self.primary]
