"""Sampler `dataset`: the answer that came with the prompt, as the human candidate."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from data.config import Config
from data.records import Candidate, Prompt

NEEDS_MODEL = False


class Settings(Config):
    sampler: Literal["dataset"] = "dataset"
    name: str = Field(default="human", description="Beginning of the candidate's id.")
    source: str = Field(default="human", description="Who wrote the answers: human, or the name of a model.")
    field: Literal["reference", "answers"] = Field(
        default="reference", description="reference: the expert's answer; answers: the first gold short answer."
    )


def num_candidates(settings: Settings) -> int:
    return 1


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return answer(prompt, settings) is not None


def answer(prompt: Prompt, settings: Settings) -> str | None:
    """What came with the prompt in that field."""
    return prompt.reference if settings.field == "reference" else next(iter(prompt.answers), None)


def sample(prompts: Sequence[Prompt], settings: Settings, student: Any) -> Iterator[list[Candidate]]:
    """The answers as they are; their token ids are made once, where examples are built."""
    for prompt in prompts:
        yield [
            Candidate(
                prompt_id=prompt.prompt_id,
                candidate_id=f"{settings.name}-0",
                text=answer(prompt, settings) or "",
                finish_reason="stop",
                source=settings.source,
            )
        ]
