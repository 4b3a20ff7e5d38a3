"""LP, label prioritised: the human answer and every right one above every wrong one."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder, Prompt
from hasse.stages.order.partial_order import Judged, StrategySettings, from_levels, is_correct, is_human


class Settings(StrategySettings):
    """Nothing to set."""

    strategy: Literal["lp"] = "lp"


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        candidates = [candidate for candidate, _ in judged]
        yield from_levels(prompt.prompt_id, candidates, [level(j) for j in judged], strategy="lp", good=2.0)


def level(judged: Judged) -> float | None:
    """2 for the human answer and a right one, 1 for a wrong one, None without a verdict."""
    candidate, judgement = judged
    if is_human(candidate):
        return 2.0
    correct = is_correct(judgement)
    return None if correct is None else 1.0 + correct
