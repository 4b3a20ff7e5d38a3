"""Sampler `dataset`: the answers that came with a prompt become its candidates."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from hasse.data.records import Candidate, Prompt
from hasse.data.settings import Config, Name

NEEDS_MODEL = False


class Settings(Config):
    sampler: Literal["dataset"] = "dataset"
    name: Name = Field(default="human", description="Name of the group; its candidates are <name>-0, <name>-1, ...")
    source: str = Field(default="human", description="Who wrote the answers: human, or the name of a model.")
    field: Literal["reference", "answers", "drafts"] = Field(
        default="reference",
        description="reference: the expert's answer; answers: the first gold short answer; drafts: the other answers.",
    )
    num_samples: int = Field(default=1, ge=1, description="The most drafts that are taken from a prompt.")

    @model_validator(mode="after")
    def _honourable(self) -> "Settings":
        if self.num_samples > 1 and self.field != "drafts":
            raise ValueError(f"num_samples {self.num_samples}: a prompt has one {self.field}; only drafts are several")
        return self


def num_candidates(settings: Settings) -> int:
    return settings.num_samples


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return bool(answers(prompt, settings))


def answers(prompt: Prompt, settings: Settings) -> tuple[str, ...]:
    """The answers in the field that the settings name."""
    if settings.field == "drafts":
        return prompt.drafts[: settings.num_samples]
    answer = prompt.reference if settings.field == "reference" else next(iter(prompt.answers), None)
    return () if answer is None else (answer,)


def sample(prompts: Sequence[Prompt], settings: Settings, model: Any) -> Iterator[list[Candidate]]:
    """The answers as they are; they are tokenised later, when examples are made."""
    for prompt in prompts:
        yield [
            Candidate(
                prompt_id=prompt.prompt_id,
                candidate_id=f"{settings.name}-{i}",
                text=text,
                finish_reason="stop",
                source=settings.source,
            )
            for i, text in enumerate(answers(prompt, settings))
        ]
