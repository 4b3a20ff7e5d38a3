"""The recipe's section `nightly`: when a night starts, and when its model is promoted."""

from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from hasse.data.settings import Config, Seed
from hasse.stages.grading import TaskSettings

LATEST = "latest"
"""The name, in steps and in the report, of the model that an earlier night promoted."""

Metric = Literal[
    "greedy_strict", "greedy_loose", "greedy_first", "greedy_score",
    "sampled_strict", "sampled_loose", "sampled_first", "sampled_score",
]  # fmt: skip


class NightlySettings(Config):
    """The settings of `hasse nightly`, in addition to those of a run."""

    start: Literal["base", "latest"] = Field(
        default="base",
        description="Train from the recipe's student (base), or from the model that was promoted last (latest). "
        "Candidates always come from the student, so that a night samples and judges only its new rows.",
    )
    arm: str | None = Field(
        default=None, description="The arm whose model may be promoted. Needed if there are several arms."
    )
    seed: Seed | None = Field(
        default=None,
        description="The training seed of the model that may be promoted. Left out: the first of train.seeds.",
    )
    metric: Metric | None = Field(
        default=None,
        description="The metric that decides about promotion: how answers are decoded, and how they are read. Left "
        "out: greedy answers read by task.reading, or their nearness to the experts' answers if prompts have no gold "
        "answers.",
    )
    min_gain: float = Field(
        default=0.0,
        ge=0,
        lt=100,
        description="In points. A model is promoted if the lower bound of the 95 % interval of its gain over the "
        "latest model, on the held-out prompts, is above this. Until a model has been promoted, it is compared with "
        "the student.",
    )
    keep_runs: int | None = Field(
        default=None,
        ge=1,
        description="After a night, delete what only older runs of this recipe used, and keep this many runs. The "
        "latest model is always kept. Left out: nothing is deleted.",
    )
    cron: str | None = Field(
        default="0 2 * * *",
        description="When nights start: minute hour day month weekday. null: nights start only by hand.",
    )
    timezone: str = Field(default="UTC", description="The time zone of `cron`, such as Europe/Berlin.")
    max_late_hours: float | None = Field(
        default=6.0,
        gt=0,
        description="A night that starts more hours than this after its scheduled time is dropped. null: no night is "
        "dropped.",
    )
    latest: str | None = Field(
        default=None, description="Folder of the model that was promoted last. `hasse nightly` fills it in."
    )

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{name!r} is not a time zone; names look like Europe/Berlin or UTC")
        return name

    @field_validator("cron")
    @classmethod
    def _cron_has_five_fields(cls, text: str | None) -> str | None:
        """Prefect checks the rest when it reads the schedule."""
        if text is not None and len(text.split()) != 5:
            raise ValueError(f"{text!r} has {len(text.split())} fields instead of 5: minute hour day month weekday")
        return text

    def metric_of(self, task: TaskSettings, *, gold: bool) -> str:
        """The metric that decides about promotion. `gold`: whether prompts have gold answers."""
        return self.metric or f"greedy_{task.primary if gold else 'score'}"
