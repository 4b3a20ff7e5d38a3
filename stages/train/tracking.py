"""Where people watch a training: TensorBoard, wandb, MLflow or Trackio, by the integrations of the trainer."""

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Literal

from pydantic import Field

from hasse.data.settings import Config

NOT_IN_KEYS = "it shows the course of a training and decides no result"

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
"""Each is the name of the package as well."""

PROJECT_VARIABLES = {"wandb": "WANDB_PROJECT", "mlflow": "MLFLOW_EXPERIMENT_NAME"}
"""The variables of the environment from which integrations read the name of the project. Trackio's has an argument."""


class TrackingSettings(Config):
    """The trackers of one training run, and its name there."""

    trackers: tuple[Tracker, ...] = ("tensorboard",)
    project: str = Field(default="hasse", description="The recipe's name. A project is an experiment in MLflow.")
    run: str = Field(default="train", description="Arm and seed.")

    def arguments(self) -> dict[str, Any]:
        """The arguments of `TrainingArguments` for these trackers."""
        return {"report_to": list(self.trackers), "project": self.project, "run_name": self.run}


@contextlib.contextmanager
def tracked(tracking: TrackingSettings) -> Iterator[None]:
    """Name the project of the run that is trained within, and end that run, as failed after an error.

    A project that the user has named in the environment stays. What trackers print goes to standard error, since a
    command may print its result as JSON.
    """
    named = {PROJECT_VARIABLES[name]: tracking.project for name in tracking.trackers if name in PROJECT_VARIABLES}
    own = {variable: project for variable, project in named.items() if variable not in os.environ}
    os.environ.update(own)
    failed = True
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        failed = False
    finally:
        for variable in own:
            del os.environ[variable]
        _end_runs(tracking, failed=failed)


def _end_runs(tracking: TrackingSettings, *, failed: bool) -> None:
    """End the runs that integrations leave open: that of wandb always, that of MLflow after an error."""
    if "wandb" in tracking.trackers:
        import_module("wandb").finish(exit_code=int(failed))
    if "mlflow" in tracking.trackers and failed:
        import_module("mlflow").end_run(status="FAILED")
