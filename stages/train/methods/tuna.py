"""Tuna: a hinge over a ranking whose margin grows with the gap in rank, beside supervised fine-tuning.

"Tuna: Instruction Tuning using Feedback from Large Language Models", arXiv 2310.13385. With v_i = S_i / n_i and dense
ranks (0 is best; ties share a rank and form no pair),

    L_rank = sum over pairs (i above j) of max(0, v_j - v_i + m (rank_j - rank_i))
    L      = L_rank + lambda * L_MLE,     L_MLE = -S_reference / n_reference

and the mean over prompts. The first phase of the paper ranks another model's answers by that model's log-probs, the
second ranks the student's own answers by a judge. Beside the paper's form there are `mean_per_gap` and
`all_candidates`, which are the form of the authors' code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.loss_terms import pair_hinge, per_prompt, scores, target_nll
from hasse.stages.train.methods.sft import Metrics, target_metric

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps

MIN_CANDIDATES = 2


class Settings(Config):
    method: Literal["tuna"] = "tuna"
    margin: float = Field(
        default=0.1, ge=0, description="m, nats per token for each rank between two answers. Paper: 0.1."
    )
    mle_weight: float = Field(default=1.0, ge=0, description="lambda. Paper: 1.")
    length_exponent: float = Field(default=1.0, description="A score is S / n to this power. Paper: 1.")
    rank_reduction: Literal["sum_pairs", "mean_per_gap"] = Field(
        default="sum_pairs",
        description="sum_pairs: sum over the pairs of a prompt, mean over prompts (paper). mean_per_gap: mean over "
        "the step's pairs with the same gap in rank, sum over the gaps (authors' code).",
    )
    mle_target: Literal["reference", "all_candidates", "best"] = Field(
        default="reference",
        description="reference: the expert's answer (paper); all_candidates: the token mean over every ranked answer, "
        "the worst included (authors' code); best: the answer at the top.",
    )


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The example with the gap in rank as the margin of each pair, and with the target of the MLE term.

    None when fewer than two different answers are ordered.
    """
    rank = dense_ranks(example)
    pairs = [replace(pair, margin=float(rank[pair.below] - rank[pair.above])) for pair in example.pairs]
    texts = {example.completions[i].token_ids for pair in pairs for i in (pair.above, pair.below)}
    if len(texts) < 2:
        return None
    return replace(example, pairs=tuple(pairs), target=_target(example, rank, settings))


def dense_ranks(example: TrainingExample) -> dict[int, int]:
    """Position of each ordered completion -> its rank, 0 for the best.

    Without levels, the rank of a completion is the length of the longest chain of pairs above it.
    """
    ordered = sorted({i for pair in example.pairs for i in (pair.above, pair.below)})
    levels = {i: level for i in ordered if (level := example.completions[i].level) is not None}
    if len(levels) == len(ordered):
        place = {level: rank for rank, level in enumerate(sorted(set(levels.values()), reverse=True))}
        return {i: place[level] for i, level in levels.items()}
    rank = dict.fromkeys(ordered, 0)
    for _ in ordered:  # a chain has no more members than that
        for pair in example.pairs:
            rank[pair.below] = max(rank[pair.below], rank[pair.above] + 1)
    return rank


def step_sums(example: TrainingExample) -> dict[str, float]:
    ranked = {i for pair in example.pairs for i in (pair.above, pair.below)}
    num_tokens = sum(len(example.completions[i].token_ids) for i in ranked)
    return sums_of([pair.margin for pair in example.pairs], num_tokens=num_tokens)


def sums_of(gaps: Sequence[float], *, num_tokens: int) -> dict[str, float]:
    """Give the divisors of the authors' forms: tokens of ranked answers, and the number of pairs by gap in rank."""
    return {"ranked tokens": num_tokens, **Counter(map(_gap, gaps))}


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's loss, nats per token. batch.margin_P: the gap in rank of each pair.

    Metrics: `sft`, the NLL per token of the targets; `rank`, L_rank per prompt; `violations`, the share of pairs whose
    lead is below their margin.
    """
    score_N = scores(policy, settings.length_exponent)
    hinge_P = pair_hinge(score_N, batch.pairs_P2, settings.margin * batch.margin_P)
    rank_B = per_prompt(hinge_P, batch, reduction="sum")
    sft_B = target_nll(policy, batch)
    if settings.rank_reduction == "sum_pairs":
        rank = rank_B.sum() / batch.step.num_prompts
    else:
        count_P = hinge_P.new_tensor([batch.step.sums[_gap(margin)] for margin in batch.margin_P.tolist()])
        rank = (hinge_P / count_P).sum()
    if settings.mle_target == "all_candidates":
        ranked_N = score_N.new_zeros(len(score_N)).index_fill(0, batch.pairs_P2.flatten(), 1)
        mle = -(policy.sum_N * ranked_N).sum() / batch.step.sums["ranked tokens"]
    else:
        mle = sft_B.sum() / batch.step.num_prompts
    metrics = {
        "sft": target_metric(sft_B, batch),
        "rank": (rank_B.sum().detach(), batch.num_prompts),
        "violations": ((hinge_P > 0).sum(), len(hinge_P)),
    }
    return rank + settings.mle_weight * mle, metrics


def _target(example: TrainingExample, rank: dict[int, int], settings: Settings) -> int | None:
    if settings.mle_target == "best":
        return min(rank, key=lambda i: (rank[i], i))
    if settings.mle_target == "reference":
        return next((i for i, c in enumerate(example.completions) if c.source == "human"), None)
    return None


def _gap(margin: float) -> str:
    return f"pairs {margin:g} ranks apart"
