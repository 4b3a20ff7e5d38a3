"""QA-LP: answers that contain a gold answer above those that do not; no human answer is needed."""

from collections.abc import Iterator, Sequence
from typing import Literal

from hasse.data.records import PartialOrder
from hasse.stages.order.judged import JudgedPrompt, StrategySettings, humans, is_correct
from hasse.stages.order.partial_order import from_levels


class Settings(StrategySettings):
    """This strategy has no settings of its own."""

    strategy: Literal["qa_lp"] = "qa_lp"


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    for prompt, judged in items:
        correct = {candidate.candidate_id: is_correct(judgement) for candidate, judgement in judged}
        levels = {name: None if verdict is None else 1.0 + verdict for name, verdict in correct.items()}
        yield from_levels(prompt.prompt_id, levels, humans=humans(judged), good=2.0, strategy="qa_lp")
