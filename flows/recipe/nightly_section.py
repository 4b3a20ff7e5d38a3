"""The recipe's section `nightly`: how a night starts, and what it takes for its model to be promoted."""

from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from hasse.data.settings import Config, Seed
from hasse.stages.grading import TaskSettings

LATEST = "latest"
"""Beside the arms: the model that an earlier night promoted."""

Metric = Literal[
    "greedy_strict", "greedy_loose", "greedy_first", "greedy_score",
    "sampled_strict", "sampled_loose", "sampled_first", "sampled_score",
]  # fmt: skip


class NightlySettings(Config):
    """What `hasse nightly` does beside a run."""

    start: Literal["base", "latest"] = Field(
        default="base",
        description="Training starts from the recipe's student, or from the model that was promoted last. Candidates "
        "are sampled from the student either way, so that a night samples and judges its new rows alone.",
    )
    arm: str | None = Field(
        default=None, description="The arm whose model may be promoted; needed where there are several."
    )
    seed: Seed | None = Field(default=None, description="Its training seed; the first of train.seeds when left out.")
    metric: Metric | None = Field(
        default=None,
        description="Decoding and reading of the answers that decide. Left out: greedy answers by task.reading, or "
        "their nearness to the experts' where prompts have no gold answers.",
    )
    min_gain: float = Field(
        default=0.0,
        ge=0,
        lt=100,
        description="Points. Promoted is what beats the latest model on the held-out prompts by more than this at the "
        "lower bound of the 95 % interval; before there is one, what so beats the student.",
    )
    keep_runs: int | None = Field(
        default=None,
        ge=1,
        description="After a night delete what only runs of this recipe before the last so many used; the latest "
        "model stays. Left out: nothing is deleted.",
    )
    cron: str | None = Field(
        default="0 2 * * *",
        description="When a night starts by itself: minute hour day month weekday. null: nights start by hand alone.",
    )
    timezone: str = Field(default="UTC", description="Of the schedule, such as Europe/Berlin.")
    max_late_hours: float | None = Field(
        default=6.0,
        gt=0,
        description="A night that a server starts later than this after its time drops itself; null: never.",
    )
    latest: str | None = Field(
        default=None, description="Folder of the model that was promoted last; `hasse nightly` fills it in."
    )

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{name!r} is not a time zone; they are called like Europe/Berlin or UTC")
        return name

    @field_validator("cron")
    @classmethod
    def _cron_has_five_fields(cls, text: str | None) -> str | None:
        """Prefect, which reads the schedule, checks the rest."""
        if text is not None and len(text.split()) != 5:
            raise ValueError(f"{text!r} has {len(text.split())} fields instead of 5: minute hour day month weekday")
        return text

    def metric_of(self, task: TaskSettings, *, gold: bool) -> str:
        """What decides. gold: whether prompts have gold answers."""
        return self.metric or f"greedy_{task.primary if gold else 'score'}"
