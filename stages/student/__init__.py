"""Student: the model to be improved, which the user gives or which is trained from scratch on a small task."""

from hasse.stages.student.stage import STAGE, StudentSettings, external

__all__ = ["STAGE", "StudentSettings", "external"]
