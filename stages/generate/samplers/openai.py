"""Sampler `openai`: a model behind an OpenAI-compatible endpoint answers with text, without token ids.

All K answers to a prompt are one request, seeded by (seed, prompt). As far as the endpoint honours seeds, a resumed or
extended run gives the same samples. An option at its default in the protocol is not sent, so that an endpoint only has
to know the options that the recipe changes. An endpoint that refuses an option stops the run with its own message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hasse.data.errors import InputError
from hasse.data.records import Candidate, Prompt
from hasse.data.rendering import asked_turns
from hasse.data.settings import Name, Seed, unkeyed
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
    name: Name = Field(default="endpoint", description="Name of the group; its candidates are <name>-0, <name>-1, ...")
    num_samples: int = Field(default=3, ge=1, description="Answers to a prompt, or to each of its variants.")
    temperature: float | None = Field(
        default=0.8, ge=0, description="0 is greedy. Rescue: 0.8. `null` sends none, for a model that takes none."
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Sample from the smallest set of tokens with this probability."
    )
    stop: list[str] = Field(default=[], description="Texts that end an answer; the answer does not contain them.")
    seed: Seed | None = Field(
        default=0, description="Another seed gives other samples. `null` sends none, for an endpoint that takes none."
    )
    system: str | None = Field(default=None, description="The system message before the prompt.")
    prompt: Literal["whole", "variants"] = Field(
        default="whole",
        description="whole: the prompt is asked; variants: each of its one-document forms is asked on its own.",
    )
    template: str = Field(
        default=PLACE,
        description="What is asked, with {prompt} in place of the prompt or of its last message.",
    )
    per_request: int | None = unkeyed(
        None, ge=1, description="The most answers of one request; 1 for an endpoint that gives one answer at a time."
    )
    logprobs: bool = Field(default=False, description="Keep the log-probs of the tokens as the endpoint reports them.")

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
    """`num_samples` candidates for each prompt or variant; a candidate without an answer says why.

    Prompts may be a stream, which is read as fast as requests may be sent.
    """
    yield from converse((_conversation(prompt, settings) for prompt in prompts), settings, payer=payer)


def questions(prompts: Iterable[Prompt], settings: Settings) -> Iterator[Planned]:
    """One question for each prompt or variant."""
    for prompt in prompts:
        with suppress(InputError):
            for request in _requests(prompt, settings):
                yield Planned(request=request, chat=settings)


def _conversation(prompt: Prompt, settings: Settings) -> Conversation[list[Candidate]]:
    try:
        requests = _requests(prompt, settings)
    except InputError as error:
        return [filtered(prompt, str(error), settings)]
    answered = (yield requests) if requests else []
    return [
        _candidate(prompt, view * settings.num_samples + k, reply, _seed(prompt, view, settings), settings)
        for view, replies in enumerate(answered)
        for k, reply in enumerate(replies)
    ]


def _requests(prompt: Prompt, settings: Settings) -> list[Request]:
    """One request for each view. Raises InputError for a prompt with a system message beside that of the settings."""
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
    return [[{"role": m.role, "content": m.content} for m in asked_turns(view)] for view in views_of(prompt, settings)]


def _seed(prompt: Prompt, view: int, settings: Settings) -> int | None:
    return None if settings.seed is None else row_seed(settings.seed, prompt.prompt_id, f"{settings.name}/{view}")


def _draw(prompt: Prompt, view: int, settings: Settings) -> str:
    """A text that tells the samples of two groups apart where no seed does; empty where a seed does."""
    if settings.seed is not None or settings.temperature == 0:
        return ""
    return f"{prompt.prompt_id}/{settings.name}/{view}"


def _options(settings: Settings, seed: int | None) -> dict[str, Any]:
    """The options that differ from the protocol's defaults."""
    options = {"n": settings.num_samples, "top_p": settings.top_p, "stop": settings.stop, "seed": seed}
    unsent = {"n": 1, "top_p": 1.0, "stop": [], "seed": None}
    sent = {name: value for name, value in options.items() if value != unsent[name]}
    return {**sent, "logprobs": True} if settings.logprobs else sent


def _candidate(prompt: Prompt, number: int, reply: Reply, seed: int | None, settings: Settings) -> Candidate:
    parts = split_thinking(reply.text)
    if reply.status in FINISH_REASONS and not parts.answer.strip():  # no loss can use an answer without tokens
        reply = replace(reply, status="filtered", error=no_answer(FINISH_REASONS[reply.status], settings))
    return Candidate(
        prompt_id=prompt.prompt_id,
        candidate_id=f"{settings.name}-{number}",
        text=parts.answer,
        reasoning=reply.all_reasoning or None,
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
