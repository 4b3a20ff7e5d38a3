"""Splits: the share of the clusters in each split, and the split of a cluster."""

from typing import Protocol

from pydantic import Field, model_validator

from hasse.data.records import SPLITS
from hasse.data.settings import Config
from hasse.data.text import unit_hash


class Fractions(Config):
    """The share of the clusters in each split; the shares add up to 1."""

    pretrain: float = Field(default=0.0, ge=0, le=1, description="Prompts for a student that is trained from scratch.")
    train: float = Field(default=0.8, ge=0, le=1, description="Prompts to train on.")
    validation: float = Field(default=0.1, ge=0, le=1, description="Prompts to choose settings by.")
    test: float = Field(default=0.1, ge=0, le=1, description="Prompts for the reported results.")

    @model_validator(mode="after")
    def _add_up(self) -> "Fractions":
        total = self.pretrain + self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the fractions add up to {total:g} instead of 1")
        return self


class SplitSettings(Protocol):
    """The settings that decide the split of a prompt, part of the recipe's section `prompts`."""

    @property
    def fractions(self) -> Fractions: ...
    @property
    def split_seed(self) -> int: ...
    @property
    def near_duplicate_threshold(self) -> float: ...
    @property
    def num_expert(self) -> int | None: ...


def split_of(cluster_id: str, settings: SplitSettings) -> str:
    """The split of a cluster, by a hash of its id alone: adding or removing rows moves no other cluster."""
    position = unit_hash("split", settings.split_seed, cluster_id)
    for split in SPLITS:
        share = getattr(settings.fractions, split)
        if position < share:
            return split
        position -= share
    return next(split for split in reversed(SPLITS) if getattr(settings.fractions, split) > 0)
