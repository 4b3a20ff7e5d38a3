"""Rejection sampling: supervised fine-tuning on the expert's answer where there is one, else on a good candidate.

This is the baseline of the ranking losses: it sees the same judged candidates, and trains only on the best one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.methods import sft
from hasse.stages.train.methods.sft import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps


class Settings(Config):
    """There is nothing to set. The order's target is the human answer, else the first candidate at the top level."""

    method: Literal["best_of_k"] = "best_of_k"


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The target only; None without a target."""
    return sft.prepare(example, sft.Settings(target="best"))


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The loss and the metrics of `sft.loss`."""
    return sft.loss(policy, batch, sft.Settings(target="best"))
