"""The losses of the methods on plain tensors, for a training loop of your own.

    from hasse.stages.train import losses

    logp_N = ...                                        # summed log-prob of each completion, with its graph
    loss, means = losses.rescue(logp_N, length_N, pairs_P2=torch.tensor([[0, 1], [0, 2]]), target_B=torch.tensor([0]))
    loss.backward()

These functions call the losses that training calls, with the step being exactly the given completions. Each gives the
scalar loss and the means of its metrics. Further keywords are the method's settings, as in a recipe; an unknown or
impossible setting raises pydantic's ValidationError. With one prompt, `prompt_N` may be left out.

    logp_N            log-prob of each completion given its prompt, summed over its tokens, EOS included, nats
    length_N          number of those tokens, int64
    reference_logp_N  as logp_N, under the frozen model that training starts from, without a graph
    pairs_P2          (better, worse) as positions in N, int64
    target_B          the completion of each prompt that the SFT term imitates, as a position in N; -1 for none
    prompt_N          the prompt of each completion, 0 to B - 1, int64

Legend: B prompts, N completions of all prompts, P ordered pairs, T response tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps, SequenceRewards, StepTotals
from hasse.stages.train.methods import dpo as dpo_method
from hasse.stages.train.methods import dpo_sft as dpo_sft_method
from hasse.stages.train.methods import gap_reward as gap_reward_method
from hasse.stages.train.methods import laffi as laffi_method
from hasse.stages.train.methods import minor_dpo as minor_dpo_method
from hasse.stages.train.methods import minor_sft as minor_sft_method
from hasse.stages.train.methods import rescue as rescue_method
from hasse.stages.train.methods import sft as sft_method
from hasse.stages.train.methods import tuna as tuna_method
from hasse.stages.train.methods.sft import Metrics

LossAndMeans = tuple[Tensor, dict[str, float]]


def sft(logp_N: Tensor, length_N: Tensor) -> LossAndMeans:
    """-logp / length in nats per token, the mean over completions: one completion for each prompt."""
    policy, batch = one_each(logp_N, length_N)
    return _means(*sft_method.loss(policy, batch, sft_method.Settings()))


def minor_sft(logp_N: Tensor, length_N: Tensor, *, reference_logp_N: Tensor, **settings: Any) -> LossAndMeans:
    """MinorSFT's braked SFT loss in nats per token, the mean over completions: one completion for each prompt.

    settings: `beta` (1/nats), `form`, `brake`.
    """
    policy, batch = one_each(logp_N, length_N, reference_logp_N=reference_logp_N)
    return _means(*minor_sft_method.loss(policy, batch, minor_sft_method.Settings(**settings)))


def dpo_sft(logp_N: Tensor, length_N: Tensor, *, reference_logp_N: Tensor, **settings: Any) -> LossAndMeans:
    """-log sigma(beta R) in nats, the mean over completions: one completion for each prompt. settings: `beta`."""
    policy, batch = one_each(logp_N, length_N, reference_logp_N=reference_logp_N)
    return _means(*dpo_sft_method.loss(policy, batch, dpo_sft_method.Settings(**settings)))


def rescue(
    logp_N: Tensor,
    length_N: Tensor,
    *,
    pairs_P2: Tensor,
    target_B: Tensor,
    prompt_N: Tensor | None = None,
    reference_logp_N: Tensor | None = None,
    **settings: Any,
) -> LossAndMeans:
    """SFT on the targets plus alpha times the hinge over all pairs, the mean over prompts.

    settings: `alpha`, `margin` (nats per token), `length_exponent`, `pair_reduction`, `anchor`, `anchor_beta`. Only
    `anchor="minor_sft"` reads reference_logp_N.
    """
    policy, batch = completions(
        logp_N, length_N, prompt_N=prompt_N, pairs_P2=pairs_P2, target_B=target_B, reference_logp_N=reference_logp_N
    )
    return _means(*rescue_method.loss(policy, batch, rescue_method.Settings(**settings)))


def tuna(
    logp_N: Tensor,
    length_N: Tensor,
    *,
    pairs_P2: Tensor,
    rank_N: Tensor,
    target_B: Tensor,
    prompt_N: Tensor | None = None,
    **settings: Any,
) -> LossAndMeans:
    """The hinge over all pairs with a margin for each rank between them, plus SFT on the targets; mean over prompts.

    rank_N: dense ranks, 0 for the best answer of a prompt. settings: `margin` (nats per token and rank), `mle_weight`,
    `length_exponent`, `rank_reduction`, `mle_target`.
    """
    gap_P = (rank_N[pairs_P2[:, 1]] - rank_N[pairs_P2[:, 0]]).double()
    ranked = pairs_P2.unique()
    policy, batch = completions(
        logp_N,
        length_N,
        prompt_N=prompt_N,
        pairs_P2=pairs_P2,
        margin_P=gap_P,
        target_B=target_B,
        sums=tuna_method.sums_of(gap_P.tolist(), num_tokens=int(length_N[ranked].sum())),
    )
    return _means(*tuna_method.loss(policy, batch, tuna_method.Settings(**settings)))


def dpo(logp_N: Tensor, *, reference_logp_N: Tensor, pairs_P2: Tensor, **settings: Any) -> LossAndMeans:
    """-log sigma(beta (R_above - R_below)) in nats, the mean over pairs. settings: `beta` (1/nats)."""
    policy, batch = _with_pairs(logp_N, reference_logp_N, pairs_P2)
    return _means(*dpo_method.loss(policy, batch, dpo_method.Settings(**settings)))


def minor_dpo(logp_N: Tensor, *, reference_logp_N: Tensor, pairs_P2: Tensor, **settings: Any) -> LossAndMeans:
    """-log sigma(beta (R_above - max(0, R_below))) in nats, the mean over pairs. settings: `beta` (1/nats)."""
    policy, batch = _with_pairs(logp_N, reference_logp_N, pairs_P2)
    return _means(*minor_dpo_method.loss(policy, batch, minor_dpo_method.Settings(**settings)))


def laffi(logp_T: Tensor) -> LossAndMeans:
    """-logp in nats, the mean over all tokens of all feedback. logp_T: log-prob of each token, EOS included."""
    length_N = torch.tensor([len(logp_T)], device=logp_T.device)
    _, batch = completions(logp_T.sum()[None], length_N, sums={"feedback": len(logp_T)})
    policy = SequenceLogps.from_tokens(logp_T, length_N)
    return _means(*laffi_method.loss(policy, batch, laffi_method.Settings()))


def gap_reward(reward_B4: Tensor) -> LossAndMeans:
    """PIT's five comparisons of the gaps of a triple, the mean over triples.

    reward_B4: r_gap(candidate, reference) of (preferred, other), (other, preferred), (preferred, preferred) and
    (other, other), without a unit.
    """
    num_triples = len(reward_B4)
    prompt_N = torch.arange(num_triples).repeat_interleave(4)
    _, batch = completions(reward_B4.flatten(), torch.ones_like(prompt_N), prompt_N=prompt_N)
    policy = SequenceRewards(reward_B4.flatten())
    return _means(*gap_reward_method.loss(policy, batch, gap_reward_method.Settings()))


def completions(
    logp_N: Tensor,
    length_N: Tensor,
    *,
    prompt_N: Tensor | None = None,
    pairs_P2: Tensor | None = None,
    margin_P: Tensor | None = None,
    target_B: Tensor | None = None,
    reference_logp_N: Tensor | None = None,
    human_N: Tensor | None = None,
    sums: Mapping[str, float] | None = None,
) -> tuple[SequenceLogps, CandidateBatch]:
    """Build the batch that `loss(policy, batch, settings)` of any method reads, a method of your own included.

    margin_P: the margin of each pair, nats per token, 0 if left out; human_N: whether a person wrote the completion;
    sums: what the method divides by beside the number of prompts, from its `step_sums`. The tokens themselves are not
    there: logp_T and completion_T of the policy are empty, and the batch cannot go through a model.
    """
    device, size = logp_N.device, len(logp_N)
    prompt_N = torch.zeros(size, dtype=torch.long, device=device) if prompt_N is None else prompt_N
    num_prompts = int(prompt_N.max()) + 1 if target_B is None else len(target_B)
    pairs_P2 = torch.zeros(0, 2, dtype=torch.long, device=device) if pairs_P2 is None else pairs_P2
    nowhere = torch.empty(0, dtype=torch.long, device=device)
    batch = CandidateBatch(
        prompt_ids=(nowhere,) * num_prompts,
        completion_ids=(nowhere,) * size,
        prompt_N=prompt_N,
        length_N=length_N,
        human_N=torch.zeros(size, dtype=torch.bool, device=device) if human_N is None else human_N,
        pairs_P2=pairs_P2,
        margin_P=logp_N.new_zeros(len(pairs_P2)) if margin_P is None else margin_P,
        target_B=torch.full((num_prompts,), -1, device=device) if target_B is None else target_B,
        reference_N=logp_N.new_full((size,), torch.nan) if reference_logp_N is None else reference_logp_N,
        step=StepTotals(num_prompts, sums or {}),
    )
    return SequenceLogps(logp_N.new_empty(0), nowhere, logp_N, length_N), batch


def one_each(
    logp_N: Tensor, length_N: Tensor, *, reference_logp_N: Tensor | None = None
) -> tuple[SequenceLogps, CandidateBatch]:
    """Build a batch as `completions` does, where each completion is the target of a prompt of its own."""
    own_N = torch.arange(len(logp_N), device=logp_N.device)
    return completions(logp_N, length_N, prompt_N=own_N, target_B=own_N, reference_logp_N=reference_logp_N)


def _with_pairs(logp_N: Tensor, reference_logp_N: Tensor, pairs_P2: Tensor) -> tuple[SequenceLogps, CandidateBatch]:
    """Losses of DPO's kind read neither lengths nor prompts."""
    length_N = torch.ones(len(logp_N), dtype=torch.long, device=logp_N.device)
    sums = {"pairs": len(pairs_P2)}
    return completions(logp_N, length_N, pairs_P2=pairs_P2, reference_logp_N=reference_logp_N, sums=sums)


def _means(loss: Tensor, metrics: Metrics) -> LossAndMeans:
    return loss, {name: float(total) / max(float(count), 1) for name, (total, count) in metrics.items()}
