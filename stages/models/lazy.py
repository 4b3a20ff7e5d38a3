"""A checkpoint that is loaded for sampling or scoring when it is first used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hasse.data.records import Checkpoint
from hasse.pipeline.store import Artifact
from hasse.stages.models.checkpoints import load_tokenizer_of, model_folder


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer, and the digests that are written into its candidates."""

    model: Any
    tokenizer: Any
    weights_digest: str
    tokenizer_digest: str


class LazyModel:
    """The model of a checkpoint artifact. A step whose rows are all in the store never loads it."""

    def __init__(self, artifact: Artifact):
        self.artifact = artifact
        self.identity = artifact.manifest.identity
        self._frozen: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[LazyModel], tuple[Artifact]]:
        """Pickle the artifact only: another process loads the model itself."""
        return LazyModel, (self.artifact,)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        (checkpoint,) = self.artifact.records(Checkpoint)
        return checkpoint

    @property
    def folder(self) -> Path:
        return model_folder(self.artifact)

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer_of(self.artifact)

    @cached_property
    def context(self) -> int:
        """The most tokens of prompt and answer together."""
        from hasse.stages.models.load import context_of

        return context_of(self.folder)

    def frozen(self, precision: str) -> Any:
        """The model as training begins with it: auto, float32 or 4bit, see `load_base`."""
        from hasse.stages.models.frozen_base import load_frozen

        if precision not in self._frozen:
            self._frozen[precision] = load_frozen(self.folder, precision)
        return self._frozen[precision]

    @cached_property
    def loaded(self) -> LoadedModel:
        from hasse.stages.models.load import load_model

        return LoadedModel(
            model=load_model(self.folder),
            tokenizer=self.tokenizer,
            weights_digest=self.checkpoint.weights_digest,
            tokenizer_digest=self.checkpoint.tokenizer_digest,
        )
