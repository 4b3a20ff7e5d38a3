"""A checkpoint loaded for sampling or scoring, when it is first wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hasse.data.records import Checkpoint
from hasse.pipeline.store import Artifact
from hasse.stages.models.checkpoints import model_folder


@dataclass(frozen=True)
class LoadedModel:
    """A model with what its candidates are signed with."""

    model: Any
    tokenizer: Any
    weights_digest: str
    tokenizer_digest: str


class LazyModel:
    """The model of a checkpoint artifact; rows that are all in the store never load it."""

    def __init__(self, artifact: Artifact):
        self.artifact = artifact
        self.identity = artifact.manifest.identity

    def __reduce__(self) -> tuple[type[LazyModel], tuple[Artifact]]:
        """Another process loads it anew."""
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
        from hasse.stages.models.load import load_tokenizer

        return load_tokenizer(self.folder)

    @cached_property
    def context(self) -> int:
        """Tokens that fit, prompt and answer together."""
        from hasse.stages.models.load import context_of

        return context_of(self.folder)

    @cached_property
    def in_float32(self) -> Any:
        """The network alone, as it is trained."""
        import torch

        from hasse.stages.models.load import load_model

        return load_model(self.folder, dtype=torch.float32)

    @cached_property
    def loaded(self) -> LoadedModel:
        from hasse.stages.models.load import load_model

        return LoadedModel(
            model=load_model(self.folder),
            tokenizer=self.tokenizer,
            weights_digest=self.checkpoint.weights_digest,
            tokenizer_digest=self.checkpoint.tokenizer_digest,
        )
