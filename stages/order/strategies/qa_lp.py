"""QA-LP: answers that contain a gold answer above those that do not; there is no human answer."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder, Prompt
from hasse.stages.order.partial_order import Judged, StrategySettings, from_levels, is_correct


class Settings(StrategySettings):
    """Nothing to set."""

    strategy: Literal["qa_lp"] = "qa_lp"


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        verdicts = [is_correct(judgement) for _, judgement in judged]
        levels = [None if correct is None else 1.0 + correct for correct in verdicts]
        yield from_levels(prompt.prompt_id, [c for c, _ in judged], levels, strategy="qa_lp", good=2.0)
