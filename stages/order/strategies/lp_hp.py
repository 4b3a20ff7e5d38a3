"""LP+HP: the human answer above the right answers, and the right answers above the wrong ones: the union of both."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder
from hasse.stages.order.judged import JudgedPrompt, StrategySettings, humans, is_human
from hasse.stages.order.partial_order import from_levels
from hasse.stages.order.strategies.lp import level


class Settings(StrategySettings):
    """This strategy has no settings of its own."""

    strategy: Literal["lp_hp"] = "lp_hp"


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        levels = {
            candidate.candidate_id: 3.0 if is_human(candidate) else level((candidate, judgement))
            for candidate, judgement in judged
        }
        yield from_levels(prompt.prompt_id, levels, humans=humans(judged), good=2.0, strategy="lp_hp")
