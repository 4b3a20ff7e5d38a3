"""LaFFi: predict the feedback that an annotator gave to the model's own answer.

"LaFFi: Leveraging Hybrid Natural Language Feedback for Fine-tuning Language Models", arXiv 2401.00907.

    L = -(sum over the step's feedback tokens, EOS included, of log p) / (number of those tokens)

Each token has the same weight. Departure from the paper: with `aux_answer_weight` w, examples that pose the question
itself add w times the mean negative log-likelihood of the gold answer's tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.records import TrainingExample
from hasse.data.settings import Config
from hasse.stages.train.methods.sft import Metrics

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps

EXAMPLES = "feedback"


class Settings(Config):
    method: Literal["laffi"] = "laffi"
    feedback_weight: float = Field(
        default=1.0,
        ge=0,
        description="Weight of the feedback. Paper: 1. With 0 and aux_answer_weight 1 this is SFT on the same items.",
    )
    aux_answer_weight: float = Field(
        default=0.0, ge=0, description="Weight of the gold answers' negative log-likelihood. Paper: 0."
    )


def prepare(example: TrainingExample, settings: Settings) -> TrainingExample | None:
    """The example; None where its part, feedback or gold answer, has the weight 0."""
    weight = settings.feedback_weight if _part(example) == "feedback" else settings.aux_answer_weight
    return example if weight else None


def step_sums(example: TrainingExample) -> dict[str, float]:
    return {_part(example): len(example.completions[0].token_ids)}


def loss(policy: SequenceLogps, batch: CandidateBatch, settings: Settings) -> tuple[Tensor, Metrics]:
    """The batch's share of the step's mean over tokens, nats per token.

    Metrics: `feedback` and `answer`, the negative log-likelihood per token of each part.
    """
    nll_T, is_answer_T = -policy.logp_T, batch.human_N[policy.completion_T]
    feedback, answer = (nll_T * ~is_answer_T).sum(), (nll_T * is_answer_T).sum()
    sums = batch.step.sums
    total = settings.feedback_weight * feedback / max(sums.get("feedback", 0), 1)
    total = total + settings.aux_answer_weight * answer / max(sums.get("answer", 0), 1)
    num_answer = is_answer_T.sum()
    return total, {
        "feedback": (feedback.detach(), len(nll_T) - num_answer),
        "answer": (answer.detach(), num_answer),
    }


def _part(example: TrainingExample) -> str:
    """The part of the loss that an example belongs to."""
    return "answer" if example.completions[0].source == "human" else "feedback"
