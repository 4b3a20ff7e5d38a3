"""The input of an ordering strategy, and what it reads off a judged candidate."""

from collections.abc import Sequence

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Config, unkeyed


class StrategySettings(Config):
    """The settings that every ordering strategy has."""

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


def humans(judged: Sequence[Judged]) -> set[str]:
    """The ids of the answers that an expert wrote."""
    return {candidate.candidate_id for candidate, _ in judged if is_human(candidate)}
