"""Scores: a judge's totals as levels, with a band within which two answers are not told apart.

The human answer is the target of supervised training and, unless `rank_human` is set, not ranked itself: its score, if
the judge gave one, was not earned among the others. An answer without a score abstains.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from hasse.data.records import PartialOrder, Prompt
from hasse.stages.order.partial_order import Judged, StrategySettings, from_levels, is_human


class Settings(StrategySettings):
    strategy: Literal["scores"] = "scores"
    band: float = Field(
        default=0.0, ge=0, description="Indifference: scores that differ by no more than this make no pair."
    )
    rank_human: bool = Field(default=False, description="Whether the human answer is ranked among the others.")


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        candidates = [candidate for candidate, _ in judged]
        levels = [_level(j, settings) for j in judged]
        yield from_levels(
            prompt.prompt_id, candidates, levels, strategy="scores", good=float("-inf"), band=settings.band
        )


def _level(judged: Judged, settings: Settings) -> float | None:
    candidate, judgement = judged
    if judgement is None or judgement.status != "ok" or (is_human(candidate) and not settings.rank_human):
        return None
    return judgement.total
