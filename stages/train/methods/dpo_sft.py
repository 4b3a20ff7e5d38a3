"""Supervised fine-tuning with DPO's coefficient: L = -log sigma(beta R) on the target, the mean over answers.

The halfway house between SFT and MinorSFT, which "Minor SFT loss", arXiv 2408.10642, compares with: the brake works on
the summed log-ratio R = S - S_reference, and neither the scale beta nor the length is divided out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.loss_terms import log_ratio, log_sigmoid, target_nll
from hasse.stages.train.methods import sft
from hasse.stages.train.methods.sft import Metrics, target_metric

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps


class Settings(Config):
    method: Literal["dpo_sft"] = "dpo_sft"
    beta: float = Field(default=0.1, gt=0, description="Brake, 1/nats.")
    target: Literal["human", "best"] = Field(default="human", description="As in sft.")


def needs_reference(settings: Settings) -> bool:
    return True


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The target alone, with its reference log-prob."""
    return sft.prepare(example, sft.Settings(target=settings.target))


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """Metrics: `sft`, the plain NLL a token; `deviation`, the mean R / m in nats a token."""
    has_target_B, target_B = batch.target_B >= 0, batch.target_B.clamp(min=0)
    ratio_B = log_ratio(policy, batch)[target_B]
    deviation_B = (ratio_B / policy.length_N[target_B]).detach() * has_target_B
    total = -(log_sigmoid(settings.beta * ratio_B) * has_target_B).sum() / batch.step.num_prompts
    metrics = {
        "sft": target_metric(target_nll(policy, batch), batch),
        "deviation": (deviation_B.sum(), has_target_B.sum()),
    }
    return total, metrics
