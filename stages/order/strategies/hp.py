"""HP, human prioritised: the human answer above every other; the others are incomparable."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder, Prompt
from hasse.stages.order.partial_order import Judged, StrategySettings, from_levels, is_human


class Settings(StrategySettings):
    """Nothing to set."""

    strategy: Literal["hp"] = "hp"


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        candidates = [candidate for candidate, _ in judged]
        levels = [2.0 if is_human(candidate) else 1.0 for candidate in candidates]
        yield from_levels(prompt.prompt_id, candidates, levels, strategy="hp", good=2.0)
