"""Supervised fine-tuning on one answer a prompt: mean negative log-likelihood a token, mean over prompts.

`target: human` imitates the expert's answers alone; prompts without one are of no use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.loss_terms import target_nll

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps

Metrics = Mapping[str, "tuple[Tensor, Tensor | int]"]
"""Name -> (sum, number of things summed); the trainer logs the ratio over a whole step."""


class Settings(Config):
    method: Literal["sft"] = "sft"
    target: Literal["human", "best"] = Field(
        default="human",
        description="human: the expert's answers alone; best: the order's best good answer where no expert is.",
    )


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The target alone."""
    if example.target is None:
        return None
    target = example.completions[example.target]
    if settings.target == "human" and target.source != "human":
        return None
    reference = (example.reference_logps[example.target],) if example.reference_logps else None
    return replace(example, completions=(target,), pairs=(), target=0, reference_logps=reference)


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    nll_B = target_nll(policy, batch)
    return nll_B.sum() / batch.step.num_prompts, {"sft": target_metric(nll_B, batch)}


def target_metric(nll_B: Tensor, batch: CandidateBatch) -> tuple[Tensor, Tensor]:
    """The negative log-likelihood a token, over the prompts that have a target."""
    return nll_B.sum().detach(), (batch.target_B >= 0).sum()
