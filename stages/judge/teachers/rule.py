"""Teacher `rule`: an answer is right if it states the gold label, or contains a gold short answer."""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Config, unkeyed
from hasse.stages.grading import TaskSettings, grade

NEEDS_MODEL = False


class Settings(Config):
    """The settings of a rule; which answers are right is part of the task."""

    teacher: Literal["rule"] = "rule"
    total: Literal["correct", "score"] = Field(
        default="correct",
        description="What the total is: 1 for a right answer and 0 for a wrong one, or the nearness by task.score.",
    )
    chunk_size: int = unkeyed(2000, ge=1, description="Prompts between two commits to the store.")


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]], settings: Settings, task: TaskSettings, model: None
) -> Iterator[list[Judgement]]:
    for prompt, candidates in items:
        yield [_judgement(prompt, candidate, task, settings.total) for candidate in candidates]


def _judgement(prompt: Prompt, candidate: Candidate, task: TaskSettings, total: str) -> Judgement:
    result = grade(candidate.text, prompt, task)
    correct = result.correct(task)
    return Judgement(
        prompt_id=prompt.prompt_id,
        candidate_id=candidate.candidate_id,
        teacher="rule",
        total=None if correct is None else result.score if total == "score" else float(correct),
        label=result.label(task),
        correct=correct,
        rationale=None if result.label(task) else "states no answer that the rule can read",
    )
