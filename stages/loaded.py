"""A checkpoint loaded for sampling or scoring, when it is first wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from data.records import Checkpoint
from pipeline.store import Artifact
from stages.checkpoints import model_folder


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

    @cached_property
    def loaded(self) -> LoadedModel:
        from stages.models import load_model, load_tokenizer

        (checkpoint,) = self.artifact.records(Checkpoint)
        folder = model_folder(self.artifact)
        return LoadedModel(
            model=load_model(folder),
            tokenizer=load_tokenizer(folder),
            weights_digest=checkpoint.weights_digest,
            tokenizer_digest=checkpoint.tokenizer_digest,
        )
