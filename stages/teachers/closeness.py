"""Teacher `closeness`: how near an answer is to the gold one, by `task.score`; right when it equals it."""

from collections.abc import Iterator, Sequence
from typing import Literal

from data.config import Config, unkeyed
from data.records import Candidate, Judgement, Prompt
from stages.grading import TaskSettings, grade

NEEDS_MODEL = False


class Settings(Config):
    """The task says what is near."""

    teacher: Literal["closeness"] = "closeness"
    chunk_size: int = unkeyed(2000, ge=1, description="Prompts between two commits to the store.")


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]], settings: Settings, task: TaskSettings, model: None
) -> Iterator[list[Judgement]]:
    for prompt, candidates in items:
        yield [_judgement(prompt, candidate, task) for candidate in candidates]


def _judgement(prompt: Prompt, candidate: Candidate, task: TaskSettings) -> Judgement:
    result = grade(candidate.text, prompt, task)
    return Judgement(
        prompt_id=prompt.prompt_id,
        candidate_id=candidate.candidate_id,
        teacher="closeness",
        total=result.score,
        label=result.label_strict,
        correct=result.correct_strict if task.has_gold(prompt) else None,
    )
