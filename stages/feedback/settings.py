"""Settings of the feedback stage."""

from pydantic import Field, model_validator

from hasse.data.settings import Config, Seed, registry, unkeyed
from hasse.stages.grading import TaskSettings

ANNOTATORS = "hasse.stages.feedback.annotators"
Annotator = registry.settings_union(ANNOTATORS, "annotator")


class Gates(Config):
    """The conditions that feedback must meet to become a training example."""

    min_chars: int = Field(default=10, ge=0, description="Shorter feedback is left out.")
    max_chars: int = Field(default=2000, ge=1, description="Longer feedback is left out.")
    verdict: bool = Field(default=True, description="Whether feedback must state a verdict that agrees with the judge.")
    names_answer: bool = Field(default=True, description="Whether feedback on a wrong answer must name the right one.")


class FeedbackSettings(Config):
    """The recipe's section `feedback`."""

    annotator: Annotator = Field(description="Who annotates the items that people do not.")  # type: ignore[valid-type]
    human: str | None = unkeyed(
        None, description="File with the feedback of people, written by `hasse annotate import`."
    )
    human_share: float = Field(default=0.0, ge=0, le=1, description="Share of the items that people annotate.")
    num_items: int | None = Field(
        default=None, ge=1, description="Number of items, whoever annotates them; left out: all."
    )
    per_prompt: int = Field(default=1, ge=1, description="The most answers to a prompt that get feedback.")
    balance: bool = Field(default=True, description="Whether to take as many right answers as wrong ones.")
    seed: Seed = Field(default=0, description="Another seed chooses other items.")
    gates: Gates = Gates()
    chunk_size: int = unkeyed(500, ge=1, description="Items between two commits to the store.")

    @model_validator(mode="after")
    def _people_exist(self) -> "FeedbackSettings":
        if self.human_share > 0 and self.human is None:
            raise ValueError("human_share is above 0 but there is no file of people's feedback: set human")
        return self


class FeedbackInputs(Config):
    """Settings of the feedback stage, with the task that says which answers are right."""

    feedback: FeedbackSettings
    task: TaskSettings
