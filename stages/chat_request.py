"""What is sent to a chat model: messages, and what stands beside them in the body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.fingerprint import digest
from stages.chat_budget import Estimate
from stages.chat_reply import Wanted
from stages.chat_settings import ChatSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`options` are fields of the body by the protocol's names, beside those that the settings give.

    Another `repeat` is another request to the cache of replies, and the same to the server.

    Request(messages=[{"role": "user", "content": "Why?"}], options={"n": 4, "top_p": 0.9, "logprobs": True})
    """

    messages: Sequence[Mapping[str, str]]
    options: Mapping[str, Any] = field(default_factory=dict)
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Sending:
    """A request as it is sent; `key` is the digest of its body and of the endpoint."""

    key: str
    body: dict[str, Any]
    estimate: Estimate
    wanted: Wanted

    @classmethod
    def of(cls, request: Request, settings: ChatSettings, url: str) -> Sending:
        body = _body(request, settings)
        wanted = Wanted(
            num=body.get("n", 1), logprobs=body.get("logprobs", False), structured="response_format" in body
        )
        repeat = {"repeat": request.repeat} if request.repeat else {}
        return cls(digest({"base_url": url, "body": body, **repeat}), body, estimate_of(request, settings), wanted)


def question(system: str, user: str, schema: dict[str, Any] | None, *, repeat: int = 0) -> Request:
    """With a JSON schema the answer is JSON that fits it."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    if schema is None:
        return Request(messages=messages, repeat=repeat)
    fitting = {"name": "answer", "strict": True, "schema": schema}
    shape = {"type": "json_schema", "json_schema": fitting}
    return Request(messages=messages, options={"response_format": shape}, repeat=repeat)


def estimate_of(request: Request, settings: ChatSettings) -> Estimate:
    """What it would take, at most, asked once."""
    return Estimate.of(_letters(request), settings.max_tokens * request.options.get("n", 1))


def _body(request: Request, settings: ChatSettings) -> dict[str, Any]:
    return {
        "model": settings.model,
        "messages": [dict(message) for message in request.messages],
        "temperature": settings.temperature,
        "max_completion_tokens": settings.max_tokens,
        **request.options,
    }


def _letters(request: Request) -> int:
    letters = sum(len(message["content"]) for message in request.messages)
    shape = request.options.get("response_format")
    return letters if shape is None else letters + len(json.dumps(shape["json_schema"]["schema"]))
