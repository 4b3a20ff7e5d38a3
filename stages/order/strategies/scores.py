"""Scores: a judge's totals as levels, with a band within which two answers are not told apart.

The human answer is the target of supervised training. It is not ranked itself unless `rank_human` is set: a score that
a judge gave the human answer was not earned among the student's answers. An answer without a score is incomparable.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from hasse.data.records import PartialOrder
from hasse.stages.order.judged import Judged, JudgedPrompt, StrategySettings, humans, is_human
from hasse.stages.order.partial_order import from_levels


class Settings(StrategySettings):
    strategy: Literal["scores"] = "scores"
    band: float = Field(
        default=0.0, ge=0, description="Indifference: scores that differ by no more than this make no pair."
    )
    rank_human: bool = Field(default=False, description="Whether the human answer is ranked among the others.")


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        levels = {candidate.candidate_id: _level((candidate, judgement), settings) for candidate, judgement in judged}
        yield from_levels(prompt.prompt_id, levels, band=settings.band, humans=humans(judged), strategy="scores")


def _level(judged: Judged, settings: Settings) -> float | None:
    candidate, judgement = judged
    if judgement is None or judgement.status != "ok" or (is_human(candidate) and not settings.rank_human):
        return None
    return judgement.total
