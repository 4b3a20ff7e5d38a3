"""DPO on every pair of the partial order.

"Direct Preference Optimization", arXiv 2305.18290. With R = S - S_reference summed over a completion's tokens,

    L = -log sigma(beta (R_above - R_below))

and the mean over the pairs of a step, so that the weight of a prompt is its number of pairs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.loss_terms import log_ratio, log_sigmoid
from hasse.stages.train.methods.sft import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps

MIN_CANDIDATES = 2


class Settings(Config):
    method: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0, description="Strength of the reference, 1/nats. Paper: 0.1 to 0.5.")


def needs_reference(settings: Settings) -> bool:
    return True


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """All candidates with their pairs and without a target; None without a pair."""
    return replace(example, target=None) if example.pairs else None


def step_sums(example: TrainingExample) -> dict[str, float]:
    return {"pairs": len(example.pairs)}


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over pairs, nats.

    Metrics: `accuracy`, the share of pairs with R in order; `margin`, beta times the mean lead of the better answer.
    Raises ValueError for an example without reference log-probs.
    """
    ratio_N = log_ratio(policy, batch)
    lead_P = ratio_N[batch.pairs_P2[:, 0]] - ratio_N[batch.pairs_P2[:, 1]]
    return pair_loss(lead_P, settings.beta, batch)


def pair_loss(lead_P: Tensor, beta: float, batch: CandidateBatch) -> tuple[Tensor, Metrics]:
    """-log sigma(beta lead) as the batch's share of the step's mean over pairs. lead_P: [P], nats."""
    total = -log_sigmoid(beta * lead_P).sum() / batch.step.sums["pairs"]
    metrics = {
        "accuracy": ((lead_P > 0).sum(), len(lead_P)),
        "margin": (beta * lead_P.detach().sum(), len(lead_P)),
    }
    return total, metrics
