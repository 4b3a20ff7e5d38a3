"""Sampler `openai`: a model behind an OpenAI-compatible endpoint answers; text comes back, without token ids.

All K answers to a prompt are one request, seeded by (seed, prompt): as far as the endpoint honours a seed, a resumed or
extended run gives the same samples. What stands at the protocol's own default is not sent, so that an endpoint need
only know what is asked of it; what it does not know it refuses, and that stops the run with its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hasse.data.errors import InputError
from hasse.data.records import Candidate, Message, Prompt
from hasse.data.settings import Seed, unkeyed
from hasse.data.thinking import split_thinking
from hasse.stages.chat.ask import converse
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.request import Conversation, Request
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.generate.answers import PLACE, filtered, no_answer, one_place, row_seed, source_of, views_of

NEEDS_MODEL = False
STREAMS = True

FINISH_REASONS = {"ok": "stop", "truncated": "length"}


class Settings(ChatSettings):
    sampler: Literal["openai"] = "openai"
    name: str = Field(default="endpoint", description="Beginning of the candidates' ids.")
    num_samples: int = Field(default=3, ge=1, description="Answers a prompt; with prompt: variants, a variant.")
    temperature: float | None = Field(
        default=0.8, ge=0, description="0 is greedy. Rescue: 0.8. `null` sends none, to a model that takes none."
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Sample from the smallest set of tokens with this probability."
    )
    stop: list[str] = Field(default=[], description="Texts that end an answer; they do not stand in it.")
    seed: Seed | None = Field(
        default=0, description="Another seed, other samples; none is sent for `null`, to an endpoint that takes none."
    )
    system: str | None = Field(default=None, description="What the model is told before the prompt.")
    prompt: Literal["whole", "variants"] = Field(
        default="whole",
        description="whole: the prompt; variants: each of its one-document forms, one answer from each alone.",
    )
    template: str = Field(
        default=PLACE,
        description="What is asked, with {prompt} in the place of the prompt or of its last message.",
    )
    per_request: int | None = unkeyed(
        None, ge=1, description="Answers that one request asks for, at most; 1 for an endpoint that gives one alone."
    )
    logprobs: bool = Field(default=False, description="Keep the log-probs of the tokens, as the endpoint reports them.")

    _template = field_validator("template")(one_place)

    @model_validator(mode="after")
    def _honourable(self) -> Settings:
        if self.num_samples > 1 and self.temperature == 0:
            raise ValueError(
                f"num_samples {self.num_samples}: at temperature 0 all answers are the same, and each would be paid "
                "for; raise the temperature, or ask for one"
            )
        return self


def num_candidates(settings: Settings) -> int:
    return settings.num_samples


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return settings.prompt == "whole" or bool(prompt.variants)


def sample(prompts: Iterable[Prompt], settings: Settings, model: None, *, payer: Payer) -> Iterator[list[Candidate]]:
    """`num_samples` candidates a prompt (or variant); one that says why where there is no answer.

    Prompts may come from a stream: they are drawn as fast as requests are let through.
    """
    yield from converse((_conversation(prompt, settings) for prompt in prompts), settings, payer=payer)


def questions(prompts: Iterable[Prompt], settings: Settings) -> Iterator[Planned]:
    """One a prompt, or a variant of it."""
    for prompt in prompts:
        with suppress(InputError):
            for request in _requests(prompt, settings):
                yield Planned(request=request, chat=settings)


def _conversation(prompt: Prompt, settings: Settings) -> Conversation[list[Candidate]]:
    try:
        requests = _requests(prompt, settings)
    except InputError as error:
        return [filtered(prompt, str(error), settings)]
    found = (yield requests) if requests else []
    return [
        _candidate(prompt, view * settings.num_samples + k, reply, _seed(prompt, view, settings), settings)
        for view, replies in enumerate(found)
        for k, reply in enumerate(replies)
    ]


def _requests(prompt: Prompt, settings: Settings) -> list[Request]:
    """One a view. Raises InputError for a prompt with a system message of its own beside that of the settings."""
    views = _views(prompt, settings)
    if settings.system is not None:
        if any(message["role"] == "system" for messages in views for message in messages):
            raise InputError("the prompt has a system message of its own; leave out the sampler's `system`")
        views = [[{"role": "system", "content": settings.system}, *messages] for messages in views]
    return [
        Request(
            messages=messages,
            options=_options(settings, _seed(prompt, view, settings)),
            draw=_draw(prompt, view, settings),
            per_request=settings.per_request,
        )
        for view, messages in enumerate(views)
    ]


def _views(prompt: Prompt, settings: Settings) -> list[list[dict[str, str]]]:
    return [
        [{"role": m.role, "content": m.content} for m in messages or (Message(role="user", content=text),)]
        for text, messages in views_of(prompt, settings)
    ]


def _seed(prompt: Prompt, view: int, settings: Settings) -> int | None:
    return None if settings.seed is None else row_seed(settings.seed, prompt.prompt_id, f"{settings.name}/{view}")


def _draw(prompt: Prompt, view: int, settings: Settings) -> str:
    """Where no seed tells the samples of two groups apart, what they are for does."""
    if settings.seed is not None or settings.temperature == 0:
        return ""
    return f"{prompt.prompt_id}/{settings.name}/{view}"


def _options(settings: Settings, seed: int | None) -> dict[str, Any]:
    """What differs from the protocol's defaults."""
    options = {"n": settings.num_samples, "top_p": settings.top_p, "stop": settings.stop, "seed": seed}
    unsent = {"n": 1, "top_p": 1.0, "stop": [], "seed": None}
    sent = {name: value for name, value in options.items() if value != unsent[name]}
    return {**sent, "logprobs": True} if settings.logprobs else sent


def _candidate(prompt: Prompt, number: int, reply: Reply, seed: int | None, settings: Settings) -> Candidate:
    said = split_thinking(reply.text)
    if reply.status in FINISH_REASONS and not said.answer.strip():  # an answer without tokens, which no loss can take
        reply = replace(reply, status="filtered", error=no_answer(FINISH_REASONS[reply.status]))
    return Candidate(
        prompt_id=prompt.prompt_id,
        candidate_id=f"{settings.name}-{number}",
        text=said.answer,
        reasoning="\n".join(filter(None, (reply.reasoning, said.thinking))) or None,
        logprobs=reply.logprobs,
        logprob_sum=sum(reply.logprobs) if reply.logprobs else None,
        logprob_mode="reported" if reply.logprobs else None,
        finish_reason=FINISH_REASONS.get(reply.status),
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=seed,
        source=source_of(settings),
        status=reply.status,  # type: ignore[arg-type]  one of the statuses
        error=reply.error,
    )
