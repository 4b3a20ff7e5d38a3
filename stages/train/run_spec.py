"""One training run as each of its processes reads it: settings, the folder of the student, the examples."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasse.data.record_file import MappedRecords
from hasse.data.records import TrainingExample
from hasse.data.settings import registry
from hasse.stages.train.settings import METHODS, TrainSettings
from hasse.stages.train.trainer_folder import EXAMPLES, TRAINER


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """The settings, with those of the method resolved, and two folders.

    student: the model to be trained; path: the folder of the job, with the examples, where the trained model is saved.
    """

    settings: TrainSettings
    student: Path
    path: Path

    @property
    def method(self) -> Any:
        return registry.load(METHODS, self.settings.method.method, kind="method")

    @property
    def trainer(self) -> Path:
        """The folder of the trainer's checkpoints and of other files that are deleted after training."""
        return self.path / TRAINER

    def examples(self) -> MappedRecords[TrainingExample]:
        return MappedRecords(self.trainer / EXAMPLES, TrainingExample)

    def fit_arguments(self) -> dict[str, Any]:
        """Arguments of `fit` and `estimate` besides the model and its examples."""
        return {
            "method": self.method,
            "method_settings": self.settings.method,
            "settings": self.settings.optimiser,
            "seed": self.settings.seed,
            "folder": self.trainer,
        }

    def write(self, file: Path) -> None:
        """Write the run as JSON.

        A student in the store is written as a path relative to the job, for machines that mount the store elsewhere.
        """
        student, path = self.student.resolve(), self.path.resolve()
        folder = os.path.relpath(student, path) if student.is_relative_to(path.parents[1]) else str(student)
        values = {"settings": self.settings.model_dump(mode="json"), "student": folder}
        file.write_text(json.dumps(values, indent=1))

    @staticmethod
    def read(file: Path, path: Path) -> "RunSpec":
        values = json.loads(file.read_text())
        settings = TrainSettings.model_validate(values["settings"])
        return RunSpec(settings=settings, student=(path / values["student"]).resolve(), path=path)
