"""HP, human prioritised: the human answer above every other; the others are incomparable."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder
from hasse.stages.order.judged import JudgedPrompt, StrategySettings, humans, is_human
from hasse.stages.order.partial_order import from_levels


class Settings(StrategySettings):
    """This strategy has no settings of its own."""

    strategy: Literal["hp"] = "hp"


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        levels = {candidate.candidate_id: 2.0 if is_human(candidate) else 1.0 for candidate, _ in judged}
        yield from_levels(prompt.prompt_id, levels, humans=humans(judged), good=2.0, strategy="hp")
