"""MinorDPO on every pair of the partial order: a worse answer is pushed down only while it is above the reference.

"Minor DPO reject penalty to increase training robustness", arXiv 2408.09834. With R = S - S_reference,

    L = -log sigma(beta (R_above - max(0, R_below)))

and the mean over the pairs of a step; the gradient of max(0, R) at R = 0 is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.settings import Config
from hasse.stages.train.loss_terms import log_ratio
from hasse.stages.train.methods import dpo
from hasse.stages.train.methods.dpo import needs_reference, prepare, step_sums  # noqa: F401  the same examples, pairs and reference
from hasse.stages.train.methods.sft import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps

MIN_CANDIDATES = 2


class Settings(Config):
    method: Literal["minor_dpo"] = "minor_dpo"
    beta: float = Field(default=0.1, gt=0, description="Strength of the reference, 1/nats.")


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over pairs, nats.

    Metrics: `accuracy`, the share of pairs with a positive lead; `margin`, beta times the mean lead. The lead of a pair
    is R_above - max(0, R_below). Raises ValueError for an example without reference log-probs.
    """
    ratio_N = log_ratio(policy, batch)
    lead_P = ratio_N[batch.pairs_P2[:, 0]] - ratio_N[batch.pairs_P2[:, 1]].relu()
    return dpo.pair_loss(lead_P, settings.beta, batch)
