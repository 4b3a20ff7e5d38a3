"""PIT's reward model: how much better a candidate is than a reference answer, from preferences alone.

"Enabling Language Models to Implicitly Learn Self-Improvement", arXiv 2310.00898. With l(z) = -log sigma(z) and
r^ab = r_gap(candidate y_a, reference y_b), y_w preferred to y_l,

    L = l(r^wl - r^lw) + l(r^wl - r^ww) + l(r^wl - r^ll) + l(r^ww - r^lw) + l(r^ll - r^lw)

and the mean over triples. The loss depends only on differences, so r_gap has no fixed zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.loss_terms import log_sigmoid
from hasse.stages.train.methods.sft import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceRewards

EXAMPLES = "gap"
HEAD = "reward"

ORDERS: tuple[str, ...] = ("wl", "lw", "ww", "ll")
"""The four texts of a triple, candidate before reference, in the order of the completions of an example."""
COMPARISONS = (("wl", "lw"), ("wl", "ww"), ("wl", "ll"), ("ww", "lw"), ("ll", "lw"))


class Settings(Config):
    """There is nothing to set."""

    method: Literal["gap_reward"] = "gap_reward"


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The example as it is."""
    return example


def loss(policy: SequenceRewards, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over triples. policy.reward_N: four rewards a triple, as in `ORDERS`.

    Metrics: `accuracy`, the share of triples with r^wl above r^lw; `wl`, `lw`, `ww`, `ll`, the mean rewards.
    """
    reward: dict[str, Tensor] = dict(zip(ORDERS, policy.reward_N.reshape(-1, len(ORDERS)).unbind(1), strict=True))
    nll_5 = [-log_sigmoid(reward[a] - reward[b]).sum() for a, b in COMPARISONS]
    total = sum(nll_5[1:], nll_5[0]) / batch.step.num_prompts
    metrics = {name: (values.sum().detach(), len(values)) for name, values in reward.items()}
    in_order = (reward["wl"] > reward["lw"]).sum()
    return total, {"accuracy": (in_order, batch.num_prompts), **metrics}
