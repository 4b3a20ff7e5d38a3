"""LP+HP: the human answer above the right ones, these above the wrong ones; the union of HP and LP."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder, Prompt
from hasse.stages.order.partial_order import Judged, StrategySettings, from_levels, is_human
from hasse.stages.order.strategies.lp import level


class Settings(StrategySettings):
    """Nothing to set."""

    strategy: Literal["lp_hp"] = "lp_hp"


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        candidates = [candidate for candidate, _ in judged]
        levels = [3.0 if is_human(candidate) else level((candidate, j)) for candidate, j in judged]
        yield from_levels(prompt.prompt_id, candidates, levels, strategy="lp_hp", good=2.0)
