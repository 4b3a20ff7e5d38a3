"""LP, label prioritised: the human answer and every right answer above every wrong answer."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder
from hasse.stages.order.judged import Judged, JudgedPrompt, StrategySettings, humans, is_correct, is_human
from hasse.stages.order.partial_order import from_levels


class Settings(StrategySettings):
    """This strategy has no settings of its own."""

    strategy: Literal["lp"] = "lp"


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        levels = {candidate.candidate_id: level((candidate, judgement)) for candidate, judgement in judged}
        yield from_levels(prompt.prompt_id, levels, humans=humans(judged), good=2.0, strategy="lp")


def level(judged: Judged) -> float | None:
    """2 for the human answer and for a right answer, 1 for a wrong answer, None without a verdict."""
    candidate, judgement = judged
    if is_human(candidate):
        return 2.0
    correct = is_correct(judgement)
    return None if correct is None else 1.0 + correct
