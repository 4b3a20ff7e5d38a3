"""Supervised fine-tuning with DPO's coefficient.

"Minor SFT loss for LLM fine-tune to increase performance and reduce model deviation", arXiv 2408.10642, compares
MinorSFT with this loss. With R = S - S_reference summed over the tokens of the answer,

    L = -log sigma(beta R)

and the mean over answers. Unlike MinorSFT, the loss is divided neither by beta nor by the length.
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
    beta: float = Field(default=0.1, gt=0, description="Strength of the brake, 1/nats.")
    target: Literal["human", "best"] = Field(default="human", description="As in sft.")


def needs_reference(settings: Settings) -> bool:
    return True


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The target only, with its reference log-prob; None without a target that the settings allow."""
    return sft.prepare(example, sft.Settings(target=settings.target))


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over prompts, nats.

    Metrics: `sft`, the plain NLL per token; `deviation`, the mean of R divided by the answer's tokens, nats per token.
    Raises ValueError for an example without reference log-probs.
    """
    has_target_B, target_B = batch.target_B >= 0, batch.target_B.clamp(min=0)
    ratio_B = log_ratio(policy, batch)[target_B]
    deviation_B = (ratio_B / policy.length_N[target_B]).detach() * has_target_B
    total = -(log_sigmoid(settings.beta * ratio_B) * has_target_B).sum() / batch.step.num_prompts
    metrics = {
        "sft": target_metric(target_nll(policy, batch), batch),
        "deviation": (deviation_B.sum(), has_target_B.sum()),
    }
    return total, metrics
