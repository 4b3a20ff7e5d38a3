"""Settings of the evaluate stage."""

from typing import Literal

from pydantic import Field, field_validator

from hasse.data.settings import Config, Seed, unkeyed
from hasse.data.template import check_placeholders
from hasse.stages.grading import TaskSettings
from hasse.stages.prompts.question import HeldOutQuestion


class EvaluateSection(Config):
    """The recipe's section `evaluate`."""

    split: Literal["validation", "test"] = Field(
        default="test", description="Choose settings on validation, report test."
    )
    limit: int | None = Field(default=None, ge=1, description="Evaluate only this many prompts, the first by id.")
    num_samples: int = Field(default=1, ge=0, description="Sampled answers to each prompt, besides the greedy answer.")
    temperature: float = Field(default=0.8, gt=0, description="Temperature of the sampled answers.")
    max_tokens: int = Field(
        default=64, ge=1, description="The most tokens of an answer; with its thinking, unless that has its own limit."
    )
    max_thinking_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The most tokens of thinking before an answer; max_tokens then counts the answer alone.",
    )
    seed: Seed = Field(default=0, description="Seed of the sampled answers.")
    revise: bool = Field(
        default=False,
        description="Also have the model predict feedback on its greedy answer and answer again: `revised`.",
    )
    revise_template: str = Field(
        default="{prompt}\n\nA proposed answer:\n{answer}\n\nFeedback:\n{feedback}\n\nThe answer again:\n",
        description="The prompt of the second answer.",
    )
    feedback_max_tokens: int = Field(default=96, ge=1, description="The most tokens of the predicted feedback.")
    pairs: bool = Field(
        default=False,
        description="Also have the student sample candidates of the held-out prompts, judge and order them, and "
        "measure how many of their pairs each model has in order.",
    )
    question: HeldOutQuestion | None = Field(
        default=None,
        description="How validation and test prompts are asked, if otherwise than in training. Left out: as in `task`.",
    )
    best_of: int | None = Field(
        default=None,
        ge=2,
        description="Also evaluate an arm best-of-N: of N sampled answers of the student, the best one by the reward "
        "model of the first PIT arm. A control for arms that improve answers.",
    )
    batch_size: int = unkeyed(256, ge=1, description="Sequences at a time; this changes memory, not results.")

    @field_validator("revise_template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_placeholders(template, ("prompt",), allowed=("answer", "feedback"))


class ImproveSettings(Config):
    """The settings by which the checkpoint, a PIT improver, improves the answers of the input `policy`.

    With a threshold, the model of the input `reward` decides which improved answers are kept.
    """

    template: str
    rounds: int = 1
    threshold: float | None = None
    shuffle_references: bool = False


class ChooseSettings(Config):
    """The settings by which the model of the input `reward` chooses among answers of the checkpoint."""

    num: int
    template: str


class EvaluateSettings(EvaluateSection):
    """Settings of the evaluate stage, with the task that says what is right."""

    task: TaskSettings
    feedback_template: str
    improve: ImproveSettings | None = None
    choose: ChooseSettings | None = None

    @property
    def rounds(self) -> list[tuple[str, int, float]]:
        """(decoding, sample number, temperature) of each answer that is sampled to a prompt."""
        return [("greedy", 0, 0.0), *(("sampled", k, self.temperature) for k in range(self.num_samples))]

    @property
    def decodings(self) -> list[tuple[str, int]]:
        """(decoding, sample number) of each row of a prompt."""
        return [(decoding, k) for decoding, k, _ in self.rounds] + ([("revised", 0)] if self.revise else [])
