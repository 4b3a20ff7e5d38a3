"""Rescue: a hinge over a partial order of candidates, beside supervised fine-tuning on the best candidate.

"RESCUE: Ranking LLM Responses with Partial Ordering", arXiv 2311.09136

    L = L_SFT + alpha * L_rank
    L_SFT  = -S_target / n_target
    L_rank = sum over pairs (i above j) of max(0, margin - (s_i - s_j)),    s_i = S_i / n_i^exponent

and the mean over prompts. S is the summed log-prob of a candidate and n its tokens. Departures from the paper: a prompt
whose candidates are all bad has no target and then no SFT term, while the paper always has a human answer;
`pair_reduction: mean`, a margin other than 0 and the anchor `minor_sft` are offered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.loss_terms import pair_hinge, per_prompt, scores, target_nll
from hasse.stages.train.methods import minor_sft
from hasse.stages.train.methods.sft import Metrics, target_metric

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps

MIN_CANDIDATES = 2

AUTHORS_HUMAN_EXPONENT, AUTHORS_MODEL_EXPONENT = 1.0, 0.85


class Settings(Config):
    method: Literal["rescue"] = "rescue"
    alpha: float = Field(
        default=0.1, ge=0, description="Weight of the ranking term. Paper: 0.1, the best of 0.01 to 0.1."
    )
    margin: float = Field(
        default=0.0, ge=0, description="Lead that the better answer must have, nats per token. Paper: 0."
    )
    pair_reduction: Literal["sum", "mean"] = Field(
        default="sum", description="How the pairs of a prompt are combined. Paper: sum."
    )
    length_exponent: float | Literal["authors"] = Field(
        default=1.0,
        description="A score is the log-prob divided by tokens to this power. Paper: 1. "
        "authors: 1 for the human answer and 0.85 for all others, as their e-SNLI code has it.",
    )
    sft_term: bool = Field(default=True, description="Add the SFT term. Paper: on; off for multi-document QA.")
    anchor: Literal["sft", "minor_sft"] = Field(
        default="sft", description="The SFT term without or with MinorSFT's brake. Paper: sft."
    )
    anchor_beta: float = Field(default=0.1, ge=0, description="Strength of the brake of the anchor minor_sft, 1/nats.")
    sft_target: Literal["human", "best"] = Field(
        default="best",
        description="best: the order's target; human: only an expert's answer, without which there is no SFT term.",
    )


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """All candidates with their pairs and the target; None with neither a pair nor a target."""
    keep_target = (
        settings.sft_term
        and example.target is not None
        and (settings.sft_target == "best" or example.completions[example.target].source == "human")
    )
    if not keep_target and not example.pairs:
        return None
    return example if keep_target else replace(example, target=None)


def needs_reference(settings: Settings) -> bool:
    return settings.sft_term and settings.anchor == "minor_sft"


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over prompts, nats per token.

    Metrics: `sft`, the NLL per token of the targets; `rank`, L_rank per prompt; `violations`, the share of pairs whose
    lead is below the margin. Raises ValueError for the anchor minor_sft without reference log-probs.
    """
    return objective(policy, batch, settings, _exponents(batch, settings))


def objective(
    policy: SequenceLogps, batch: CandidateBatch, settings: Settings, exponent_N: Tensor | float
) -> tuple[Tensor, Metrics]:
    """Compute `loss` with a length exponent for each completion, [N], in place of the setting."""
    score_N = scores(policy, exponent_N)
    hinge_P = pair_hinge(score_N, batch.pairs_P2, batch.margin_P + settings.margin)
    rank_B = per_prompt(hinge_P, batch, reduction=settings.pair_reduction)
    sft_B = target_nll(policy, batch)
    anchor_B = sft_B
    if needs_reference(settings):
        brake = minor_sft.Settings(beta=settings.anchor_beta)
        anchor_B = minor_sft.braked_nll(policy, batch, brake)
    total = (anchor_B + settings.alpha * rank_B).sum() / batch.step.num_prompts
    metrics = {
        "sft": target_metric(sft_B, batch),
        "rank": (rank_B.sum().detach(), batch.num_prompts),
        "violations": ((hinge_P > 0).sum(), len(hinge_P)),
    }
    return total, metrics


def _exponents(batch: CandidateBatch, settings: Settings) -> Tensor | float:
    if settings.length_exponent != "authors":
        return settings.length_exponent
    human_N = batch.human_N.to(batch.margin_P.dtype)  # float64, so that an exponent loses nothing
    return AUTHORS_MODEL_EXPONENT + (AUTHORS_HUMAN_EXPONENT - AUTHORS_MODEL_EXPONENT) * human_N
