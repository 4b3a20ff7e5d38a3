"""The request to a chat model: messages, and the other fields of its body."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hasse.pipeline.fingerprint import digest
from hasse.stages.chat.money.budget import Estimate
from hasse.stages.chat.reply import Replies, Wanted
from hasse.stages.chat.settings import ChatSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A question. `options`: fields of the body by the protocol's names, besides the fields that the settings give.

    Requests that differ only in `repeat` or `draw` are different for the cache of replies, and the same for the server.
    draw: names the use of the answers, where two answers to the same question may differ.
    per_request: the most answers that one request to the server asks for.

    Request(messages=[{"role": "user", "content": "Why?"}], options={"n": 4, "top_p": 0.9, "logprobs": True})
    """

    messages: Sequence[Mapping[str, str]]
    options: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0
    draw: str = ""
    per_request: int | None = None


Conversation = Generator[Sequence[Request], Sequence[Replies], T]
"""Yields requests, is sent the replies to each of them, as often as it likes, and in the end returns a result."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A question as it is sent. `key`: the digest of the body and the endpoint's address, under which it is cached."""

    key: str
    body: dict[str, Any]
    estimate: Estimate
    wanted: Wanted
    per_request: int | None = None

    @classmethod
    def of(cls, request: Request, settings: ChatSettings, url: str) -> Sending:
        body = _body(request, settings)
        wanted = Wanted(
            num=body.get("n", 1),
            logprobs=body.get("logprobs", False),
            max_tokens=settings.max_new_tokens,
            fields=tuple(body),
        )
        others = {"repeat": request.repeat, "draw": request.draw}
        key = digest({"base_url": url, "body": body, **{name: value for name, value in others.items() if value}})
        return cls(key, body, estimate_of(request, settings), wanted, request.per_request)

    def after(self, num: int) -> Sending:
        """The request for the missing answers when `num` answers have arrived. It has a seed of its own."""
        left = min(self.wanted.num - num, self.per_request or self.wanted.num)
        if left == self.wanted.num:
            return self
        body = {name: value for name, value in self.body.items() if name != "n"}
        body |= {"n": left} if left > 1 else {}
        body |= {"seed": body["seed"] + num} if "seed" in body else {}
        wanted = replace(self.wanted, num=left, first=num)
        asked = self.estimate.input_tokens // _times(self.wanted.num, self.per_request)
        estimate = Estimate(asked, left * self.wanted.max_tokens)
        return replace(self, body=body, wanted=wanted, estimate=estimate)


def question(system: str, user: str, schema: dict[str, Any] | None, *, repeat: int = 0, draw: str = "") -> Request:
    """A request with a system message and a question. With a JSON schema the answer is JSON that fits the schema."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    if schema is None:
        return Request(messages=messages, repeat=repeat, draw=draw)
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    return Request(messages=messages, options={"response_format": response_format}, repeat=repeat, draw=draw)


def estimate_of(request: Request, settings: ChatSettings) -> Estimate:
    """The most tokens that a request takes without retries."""
    num = request.options.get("n", 1)
    asked = Estimate.of(_letters(request), settings.max_new_tokens * num)
    return replace(asked, input_tokens=asked.input_tokens * _times(num, request.per_request))


def _body(request: Request, settings: ChatSettings) -> dict[str, Any]:
    return {
        "model": settings.model,
        "messages": [dict(message) for message in request.messages],
        **({} if settings.temperature is None else {"temperature": settings.temperature}),
        settings.token_limit: settings.max_new_tokens,
        **({"reasoning_effort": settings.reasoning_effort} if settings.reasoning_effort else {}),
        **settings.extra_body,
        **request.options,
    }


def _times(num: int, per_request: int | None) -> int:
    """The number of requests for so many answers."""
    return math.ceil(num / (per_request or num))


def _letters(request: Request) -> int:
    letters = sum(len(message["content"]) for message in request.messages)
    shape = request.options.get("response_format")
    return letters if shape is None else letters + len(json.dumps(shape["json_schema"]["schema"]))
