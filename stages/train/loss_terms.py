"""Terms that several losses share, above all the hinge over ordered pairs.

    L_rank = sum over pairs (i above j) of w_ij * max(0, margin_ij - (s_i - s_j)),     s_i = S_i / n_i^e

A pair whose argument is exactly 0 is inactive: value 0, gradient 0.
Legend: B prompts, N completions, P pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps


def scores(policy: SequenceLogps, exponent_N: Tensor | float) -> Tensor:
    """The summed log-prob of each completion divided by its length to the power of the exponent, [N], nats."""
    return policy.sum_N / policy.length_N.to(policy.sum_N.dtype) ** exponent_N


def pair_hinge(score_N: Tensor, pairs_P2: Tensor, margin_P: Tensor | float) -> Tensor:
    """max(0, margin - (score of the better - score of the worse)) of every pair, [P], in the unit of the scores."""
    gap_P = score_N[pairs_P2[:, 0]] - score_N[pairs_P2[:, 1]]
    return (_like(margin_P, gap_P) - gap_P).relu()


def _like(value: Tensor | float, other: Tensor) -> Tensor | float:
    return value if isinstance(value, float | int) else value.to(other.dtype)


def per_prompt(value_P: Tensor, batch: CandidateBatch, *, reduction: str) -> Tensor:
    """Sum or mean over the pairs of each prompt, [B]; 0 for a prompt without pairs."""
    prompt_P = batch.prompt_N[batch.pairs_P2[:, 0]]
    total_B = value_P.new_zeros(batch.num_prompts).index_add(0, prompt_P, value_P)
    if reduction == "sum":
        return total_B
    count_B = value_P.new_zeros(batch.num_prompts).index_add(0, prompt_P, value_P.new_ones(len(value_P)))
    return total_B / count_B.clamp(min=1)


def log_ratio(policy: SequenceLogps, batch: CandidateBatch) -> Tensor:
    """R = S - S_reference, summed over tokens, [N], nats. Raises ValueError for an example without S_reference."""
    if bool(batch.reference_N.isnan().any()):
        raise ValueError("an example has no reference log-probs; a method that needs them says so in needs_reference")
    return policy.sum_N - batch.reference_N.to(policy.sum_N.dtype)


def target_nll(policy: SequenceLogps, batch: CandidateBatch) -> Tensor:
    """Mean negative log-likelihood per token of each prompt's target, [B], nats; 0 for a prompt without a target."""
    has_target_B = batch.target_B >= 0
    return -policy.mean_N[batch.target_B.clamp(min=0)] * has_target_B


def log_sigmoid(value: Tensor) -> Tensor:
    """log(1 / (1 + exp(-value))), finite for every finite value."""
    from torch.nn.functional import logsigmoid  # torch is not imported where only settings are read

    return logsigmoid(value)


def penalised_reward(gap_N: Tensor, logp_N: Tensor, anchor_logp_N: Tensor, *, beta: float) -> Tensor:
    """r_gap - beta (log pi - log pi_anchor) of sampled answers, [N]; log-probs are summed over tokens, nats."""
    return gap_N - beta * (logp_N - anchor_logp_N)
