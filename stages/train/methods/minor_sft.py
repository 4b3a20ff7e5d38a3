"""MinorSFT: supervised fine-tuning that weighs each answer less, the likelier the policy already finds it.

"Minor SFT loss for LLM fine-tune to increase performance and reduce model deviation", arXiv 2408.10642. With
R = S - S_reference summed over the m tokens of the answer,

    weighted       w = 2 sigma(-beta R), held constant;  L = -(w / m) S
    log_sigmoid                                          L = -(2 / (beta m)) log sigma(beta R)

have the same gradient, and the loss is the mean over answers, not over tokens. At R = 0 the weight w is 1, as in SFT;
at beta R = ln 3 it is 1/2. Since R is a sum, long answers lose weight sooner than short ones. The length-robust brake,
which is not in the paper, uses R / m instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.loss_terms import log_ratio, log_sigmoid, target_nll
from hasse.stages.train.methods import sft
from hasse.stages.train.methods.sft import Metrics, target_metric

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps


class Settings(Config):
    method: Literal["minor_sft"] = "minor_sft"
    beta: float | Literal["half_weight"] = Field(
        default=0.1,
        description="Strength of the brake, 1/nats; 0 is SFT. half_weight: ln 3 / (m d), with m the mean answer "
        "length in tokens, so that an answer of that length has weight 1/2 once it is `tolerance` nats per token "
        "likelier.",
    )
    tolerance: float = Field(default=0.1, gt=0, description="d of half_weight, nats per token.")
    form: Literal["weighted", "log_sigmoid"] = Field(default="weighted", description="Two losses with one gradient.")
    brake: Literal["summed", "length_robust"] = Field(
        default="summed", description="What beta multiplies: R (paper), or R / m whatever the length."
    )
    target: Literal["human", "best"] = Field(default="human", description="As in sft.")

    @model_validator(mode="after")
    def _beta_fits(self) -> Settings:
        if isinstance(self.beta, float):
            if not 0 <= self.beta < math.inf:
                raise ValueError(f"beta {self.beta} is not a finite number from 0")
            if self.beta == 0 and self.form == "log_sigmoid":
                raise ValueError("the form log_sigmoid divides by beta; with beta 0 take the form weighted")
        return self


def needs_reference(settings: Settings) -> bool:
    return True


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The target only, with its reference log-prob; None without a target that the settings allow."""
    return sft.prepare(example, sft.Settings(target=settings.target))


def resolve(settings: Settings, examples: Sequence[TrainingExample]) -> Settings:
    """The settings with `half_weight` as a number, from the mean length of the answers (1 for the robust brake)."""
    if settings.beta != "half_weight":
        return settings
    lengths = [len(e.completions[e.target].token_ids) for e in examples if e.target is not None]
    length = sum(lengths) / len(lengths) if settings.brake == "summed" else 1
    return settings.model_copy(update={"beta": math.log(3) / (length * settings.tolerance)})


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over prompts, nats per token.

    Metrics: `sft`, the plain NLL per token; `weight`, the mean w; `deviation`, the mean R / m in nats per token.
    Raises ValueError for an example without reference log-probs.
    """
    has_target_B, target_B = batch.target_B >= 0, batch.target_B.clamp(min=0)
    ratio_B = log_ratio(policy, batch)[target_B].detach()
    deviation_B = ratio_B / policy.length_N[target_B]
    metrics = {
        "sft": target_metric(target_nll(policy, batch), batch),
        "weight": ((_weight(ratio_B, deviation_B, settings) * has_target_B).sum(), has_target_B.sum()),
        "deviation": ((deviation_B * has_target_B).sum(), has_target_B.sum()),
    }
    return braked_nll(policy, batch, settings).sum() / batch.step.num_prompts, metrics


def braked_nll(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> Tensor:
    """The loss of each prompt's target, [B], nats per token; 0 for a prompt without a target."""
    target_B = batch.target_B.clamp(min=0)
    ratio_B = log_ratio(policy, batch)[target_B]
    length_B = policy.length_N[target_B].to(ratio_B.dtype)  # beta times whole numbers would be float32
    if settings.form == "weighted":
        ratio_B = ratio_B.detach()
        return _weight(ratio_B, ratio_B / length_B, settings) * target_nll(policy, batch)
    # The derivative of log sigma(beta R / m) with respect to S already carries the 1 / m of the length-robust brake.
    scaled_B = ratio_B if settings.brake == "summed" else ratio_B / length_B
    divisor_B = _beta(settings) * (length_B if settings.brake == "summed" else 1)
    return -2 / divisor_B * log_sigmoid(_beta(settings) * scaled_B) * (batch.target_B >= 0)


def _weight(ratio_B: Tensor, deviation_B: Tensor, settings: Settings) -> Tensor:
    """w of each prompt's target, [B]."""
    return 2 * (-_beta(settings) * (ratio_B if settings.brake == "summed" else deviation_B)).sigmoid()


def _beta(settings: Settings) -> float:
    """beta, 1/nats. Raises TypeError where `resolve` has not yet replaced half_weight by a number."""
    if isinstance(settings.beta, str):
        raise TypeError("beta is half_weight; resolve it from the examples first")
    return settings.beta
