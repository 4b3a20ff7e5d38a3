"""PIT's arithmetic: the texts that improver and reward model share, the reward of RL, the calibrated gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from data.config import Config

if TYPE_CHECKING:
    from torch import Tensor


class ImproverTemplate(Config):
    """The improver's prompt is `prompt` + an answer + `suffix`, where the improved answer starts."""

    reference: str = Field(
        default="\n\nAn answer:\n{reference}\n\nA better answer:\n",
        description="What follows the prompt's text; {reference} is the answer to be improved.",
    )


def penalised_reward(gap_N: Tensor, logp_N: Tensor, anchor_logp_N: Tensor, *, beta: float) -> Tensor:
    """r_gap - beta (log pi - log pi_anchor) of sampled answers, with log-probs summed over their tokens, nats, [N]."""
    return gap_N - beta * (logp_N - anchor_logp_N)
