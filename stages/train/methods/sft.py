"""Supervised fine-tuning on one answer per prompt.

    L = -S_target / n_target

with S the summed log-prob of the answer and n its tokens, and the mean over prompts. `target: human` trains only on
experts' answers and leaves out prompts without one.
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
"""Name -> (sum, number of things summed). The trainer logs the ratio over a whole step."""


class Settings(Config):
    method: Literal["sft"] = "sft"
    target: Literal["human", "best"] = Field(
        default="human",
        description="human: only experts' answers; best: without an expert's answer the best good answer of the order.",
    )


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The target only; None without a target that the settings allow."""
    if example.target is None:
        return None
    target = example.completions[example.target]
    if settings.target == "human" and target.source != "human":
        return None
    reference = (example.reference_logps[example.target],) if example.reference_logps else None
    return replace(example, completions=(target,), pairs=(), target=0, reference_logps=reference)


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over prompts, nats per token. Metric: `sft`, the loss itself."""
    nll_B = target_nll(policy, batch)
    return nll_B.sum() / batch.step.num_prompts, {"sft": target_metric(nll_B, batch)}


def target_metric(nll_B: Tensor, batch: CandidateBatch) -> tuple[Tensor, Tensor]:
    """The negative log-likelihood per token as a metric, over the prompts that have a target."""
    return nll_B.sum().detach(), (batch.target_B >= 0).sum()
