"""Student: the model to be improved, given by the user or trained from scratch on a small task."""

from hasse.stages.student.stage import STAGE, StudentSettings, external

__all__ = ["STAGE", "StudentSettings", "external"]
