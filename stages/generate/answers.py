"""Functions that samplers share: the text to ask, the candidate made of an answer, and the seed of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field, field_validator

from hasse.data.errors import InputError
from hasse.data.records import Candidate, Message, Prompt
from hasse.data.settings import Config, Name, Seed
from hasse.pipeline.fingerprint import text_digest
from hasse.stages.models.sample import Sampled

PLACE = "{prompt}"


def one_place(template: str) -> str:
    """The template, unchanged. Raises ValueError unless it holds {prompt} exactly once."""
    if template.count(PLACE) != 1:
        raise ValueError(f"template must hold {PLACE} once, found it {template.count(PLACE)} times")
    return template


class AnswerSettings(Config):
    """The settings of every sampler that asks a model of the recipe."""

    name: Name = Field(default="student", description="Name of the group; its candidates are <name>-0, <name>-1, ...")
    model: str = Field(
        default="student",
        description="student, a name of `models`, or teacher: the model by which the judge scores.",
    )
    num_samples: int = Field(default=3, ge=1, description="Answers to a prompt, or to each of its variants.")
    temperature: float = Field(default=0.8, ge=0, description="0 is greedy. Rescue: 0.8.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Sample from the smallest set of tokens with this probability."
    )
    max_tokens: int = Field(
        default=64, ge=1, description="The most tokens of an answer; with its thinking, unless that has its own limit."
    )
    max_thinking_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The most tokens of thinking before an answer; max_tokens then counts the answer alone. Left out: "
        "both share max_tokens.",
    )
    seed: Seed = Field(default=0, description="Another seed gives other samples.")
    prompt: Literal["whole", "variants"] = Field(
        default="whole",
        description="whole: the prompt is asked; variants: each of its one-document forms is asked on its own.",
    )
    template: str = Field(
        default=PLACE,
        description="What is asked, with {prompt} in place of the prompt or of its last message; "
        "training sees the prompt alone.",
    )

    _template = field_validator("template")(one_place)

    @property
    def max_new_tokens(self) -> int:
        """The most tokens that are sampled, of thinking and answer together."""
        return self.max_tokens + (self.max_thinking_tokens or 0)


@dataclass(frozen=True, slots=True)
class Signature:
    """The digests of the model that answers."""

    weights_digest: str
    tokenizer_digest: str


def views_that_fit(
    prompts: Sequence[Prompt], settings: Any, tokenizer: Any, *, context: int
) -> tuple[list[tuple[int, int, list[int]]], dict[int, str]]:
    """The views that fit into the context beside all new tokens, and the prompts that do not.

    Returns (position of the prompt, number of the view, token ids) for each view, and position -> reason for each
    prompt with a view that is too long.
    """
    room = context - settings.max_new_tokens
    views_in_order: list[tuple[int, int, list[int]]] = []
    refused: dict[int, str] = {}
    for i, prompt in enumerate(prompts):
        try:
            views = _views(prompt, settings, tokenizer)
            too_long = next((ids for ids in views if len(ids) > room), None)
            if too_long is not None:
                raise InputError(
                    f"the prompt has {len(too_long)} tokens; {room} fit beside {settings.max_new_tokens} new ones"
                )
            views_in_order += [(i, j, ids) for j, ids in enumerate(views)]
        except InputError as error:
            refused[i] = str(error)
    return views_in_order, refused


def row_seed(seed: int, *names: str) -> int:
    """The 60-bit seed of one sample: a digest of the seed and the names."""
    return int(text_digest(str(seed), *names)[:15], 16)


def numbered(settings: Any, view: int, sample: int) -> str:
    """The id of a group's candidate: the number of its view and of its sample count from 0."""
    return f"{settings.name}-{view * settings.num_samples + sample}"


def candidate_of(
    prompt: Prompt, candidate_id: str, sampled: Sampled, seed: int, settings: Any, model: Signature | Any
) -> Candidate:
    """The candidate made of a sampled answer; `filtered` where the model only thought and never answered."""
    error = no_answer(sampled.finish_reason, settings) if sampled.has_no_answer else None
    return Candidate(
        prompt_id=prompt.prompt_id,
        candidate_id=candidate_id,
        text=sampled.text,
        reasoning=sampled.reasoning,
        token_ids=sampled.token_ids,
        logprobs=sampled.logprobs,
        logprob_sum=sum(sampled.logprobs) if sampled.token_ids else None,
        logprob_mode=_mode(settings) if sampled.token_ids else None,
        finish_reason=sampled.finish_reason,
        model_digest=model.weights_digest,
        tokenizer_digest=model.tokenizer_digest,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=seed,
        source=source_of(settings),
        status="filtered" if error else "ok" if sampled.finish_reason == "stop" else "truncated",
        error=error,
    )


def no_answer(finish_reason: str | None, settings: Any) -> str:
    """Why a candidate that holds only thinking has no answer."""
    if finish_reason == "length":
        limit = "max_tokens" if settings.max_thinking_tokens is None else "max_thinking_tokens"
        return f"{limit} were used up before the answer began; raise {limit}"
    return "the model stopped in its thinking and gave no answer"


def source_of(settings: Any) -> str:
    """The `source` of a group's candidates."""
    return "document" if settings.prompt == "variants" else settings.model


def filtered(prompt: Prompt, error: str, settings: Any) -> Candidate:
    """The only candidate of a prompt that the group could not ask."""
    return Candidate(
        prompt_id=prompt.prompt_id,
        candidate_id=f"{settings.name}-0",
        text="",
        max_tokens=settings.max_tokens,
        source=source_of(settings),
        status="filtered",
        error=error,
    )


def _mode(settings: Any) -> str:
    return "raw" if settings.template == PLACE else "template"


def views_of(prompt: Prompt, settings: Any) -> list[Prompt]:
    """Each view of the prompt, with its last turn in the group's template."""
    if settings.prompt == "variants":
        return [replace(prompt, text=_filled(settings, text), messages=None) for text in prompt.variants]
    *before, last = prompt.messages or (Message(role="user", content=prompt.text),)
    asked = replace(last, content=_filled(settings, last.content))
    return [replace(prompt, text=asked.content, messages=(*before, asked) if prompt.messages else None)]


def _views(prompt: Prompt, settings: Any, tokenizer: Any) -> list[list[int]]:
    from hasse.stages.models.tokens import asked_token_ids

    return [asked_token_ids(tokenizer, view) for view in views_of(prompt, settings)]


def _filled(settings: Any, text: str) -> str:
    return settings.template.replace(PLACE, text)
