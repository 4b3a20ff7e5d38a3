"""What one training run is: settings, a student's folder and examples, as every process of it reads them."""

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
    """What a training process needs: settings (the method's resolved), the student's folder, the job's folder.

    The examples lie in the job's folder, and the trained model is put there.
    """

    settings: TrainSettings
    student: Path
    path: Path

    @property
    def method(self) -> Any:
        return registry.load(METHODS, self.settings.method.method, kind="method")

    @property
    def trainer(self) -> Path:
        """Where checkpoints are kept, and what belongs to the way to the model alone."""
        return self.path / TRAINER

    def examples(self) -> MappedRecords[TrainingExample]:
        return MappedRecords(self.trainer / EXAMPLES, TrainingExample)

    def what(self) -> dict[str, Any]:
        """Arguments of `fit` and `estimate` beside the model and its examples."""
        return {
            "method": self.method,
            "method_settings": self.settings.method,
            "settings": self.settings.optimiser,
            "seed": self.settings.seed,
            "folder": self.trainer,
        }

    def write(self, spec: Path) -> None:
        """As JSON; a student of the store by its way from the job's folder, for machines that mount it elsewhere."""
        student, path = self.student.resolve(), self.path.resolve()
        way = os.path.relpath(student, path) if student.is_relative_to(path.parents[1]) else str(student)
        values = {"settings": self.settings.model_dump(mode="json"), "student": way}
        spec.write_text(json.dumps(values, indent=1))

    @staticmethod
    def read(spec: Path, path: Path) -> "RunSpec":
        values = json.loads(spec.read_text())
        settings = TrainSettings.model_validate(values["settings"])
        return RunSpec(settings=settings, student=(path / values["student"]).resolve(), path=path)
