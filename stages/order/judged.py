"""The input of an ordering strategy, and what it reads off a judged candidate."""

import random
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Config, Seed, unkeyed


class StrategySettings(Config):
    """The settings that every ordering strategy has."""

    shuffle_labels: Seed | None = Field(
        default=None,
        description="A control: the judgements of a prompt's candidates, without the experts', change places at random "
        "before they are ordered. The number is the seed; left out: nothing is shuffled.",
    )
    chunk_size: int = unkeyed(5000, ge=1, description="Prompts between two commits to the store.")


Judged = tuple[Candidate, Judgement | None]
"""A candidate with its judgement; None for a candidate that was not judged."""

JudgedPrompt = tuple[Prompt, Sequence[Judged]]


def is_correct(judgement: Judgement | None) -> bool | None:
    """Whether the judge called the answer right; None without a verdict."""
    return judgement.correct if judgement is not None and judgement.status == "ok" else None


def is_human(candidate: Candidate) -> bool:
    """Whether an expert wrote the answer, whatever its sampling group is called."""
    return candidate.source == "human"


def shuffled(item: JudgedPrompt, seed: int) -> JudgedPrompt:
    """The prompt with the judgements of its candidates in other places; those of experts' answers stay."""
    prompt, judged = item
    dealt = [judgement for candidate, judgement in judged if not is_human(candidate)]
    random.Random(f"{seed} {prompt.prompt_id}").shuffle(dealt)
    left = iter(dealt)
    return prompt, [(c, j if is_human(c) else _given(c, next(left))) for c, j in judged]


def _given(candidate: Candidate, judgement: Judgement | None) -> Judgement | None:
    return judgement and replace(judgement, candidate_id=candidate.candidate_id)


def humans(judged: Sequence[Judged]) -> set[str]:
    """The ids of the answers that an expert wrote."""
    return {candidate.candidate_id for candidate, _ in judged if is_human(candidate)}
