"""Read the body of a response as a chat completion, strictly: only what is known to be a whole answer counts as one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, FiniteFloat, ValidationError

from hasse.data.text import is_blank
from hasse.stages.chat.reply import Replies, Reply, Unsupported, Unusable, Wanted, failed

WHOLE = {"stop", "eos", "eos_token", "end_turn", "stop_sequence"}
CUT_OFF = {"length", "max_tokens", "max_output_tokens", "model_length"}
WITHHELD = {
    "content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive", "refusal",
}  # fmt: skip
CALLS = {"tool_calls", "function_call", "tool_use"}
"""The known values of `finish_reason`, in lower case. An answer with another value is asked for again."""

TEXT, THINKING = {"text", "output_text"}, {"thinking", "reasoning", "redacted_thinking"}
"""Types of the parts into which servers divide a message's content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCompletion:
    """The answers of a response, in order.

    problem: why there are fewer answers than wanted. model: the model that answered, as the server names it.
    """

    replies: Replies
    problem: str = ""
    model: str = ""


class _Part(BaseModel):
    type: str
    text: str | None = None
    refusal: str | None = None
    thinking: object = None
    reasoning: object = None
    summary: object = None


class _Message(BaseModel):
    content: str | list[str | _Part] | None = None
    refusal: str | None = None
    reasoning_content: object = None
    reasoning: object = None
    tool_calls: object = None
    function_call: object = None


class _Choice(BaseModel):
    index: int | None = None
    message: _Message
    error: object = None
    finish_reason: str | None = None
    logprobs: object = None  # read only when log-probs were asked for, since servers put various things here


class _Completion(BaseModel):
    choices: list[_Choice]
    model: object = None
    error: object = None


class _Token(BaseModel):
    logprob: FiniteFloat


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Error(BaseModel):
    message: str = ""
    code: object = None


class _Failure(BaseModel):
    error: _Error | str


def read_completion(body: bytes, wanted: Wanted) -> ChatCompletion:
    """The completion in a body.

    Raises Unusable, which quotes nothing of the body but the server's own words for an error, and Unsupported where
    another try would give the same.
    """
    try:
        found = _Completion.model_validate_json(body)
    except ValidationError as error:
        raise _problem_of(body, error) from None
    if found.error:
        raise _reported(read_error(body))
    replies, problem = [], ""
    for choice in _distinct(found.choices)[: wanted.num]:
        reply = _reply_of(choice, wanted)
        if isinstance(reply, Reply):
            replies.append(reply)
        else:
            problem = problem or reply.problem
    problem = problem or f"choices: {len(replies)} instead of {wanted.num}"
    model = found.model if isinstance(found.model, str) else ""
    return ChatCompletion(replies=tuple(replies), problem=problem if len(replies) < wanted.num else "", model=model)


def read_error(body: bytes) -> _Error:
    """The error that the server describes; empty where the body is not an error of the protocol."""
    try:
        found = _Failure.model_validate_json(body).error
    except ValidationError:
        return _Error()
    return _Error(message=found) if isinstance(found, str) else found


def _problem_of(body: bytes, error: ValidationError) -> ValueError:
    """The exception for a body that is no completion."""
    start = body[:200].lstrip().lower()
    if start.startswith((b"data:", b"event:", b": ")):
        return Unsupported("the endpoint answers with a stream of events, which was not asked for")
    if start.startswith((b"<!doctype", b"<html")):
        return Unusable("the response is an HTML page, not a chat completion; check base_url")
    said = read_error(body)
    if said.message or said.code is not None:
        return _reported(said)
    found = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(map(str, found["loc"])) or "the whole"
    problem = "it is no JSON" if found["type"] == "json_invalid" else f"{place}: {found['msg']}"
    return Unusable(f"the response is not the chat completion that was asked for: {problem}")


def _reported(said: _Error) -> Unusable:
    """The exception for an error that the server describes in a response with a good status."""
    code = "" if said.code is None else said.code
    return Unusable(
        f"the response holds an error: {said.message or code or 'without words'}", status=_status(said.code)
    )


def _status(code: object) -> int | None:
    text = str(code)
    return int(text) if text.isascii() and text.isdigit() and len(text) == 3 and 400 <= int(text) < 600 else None


def _distinct(choices: Sequence[_Choice]) -> list[_Choice]:
    """The choices in the order of their index, without duplicates."""
    found: dict[str, _Choice] = {}
    for choice in choices:
        found.setdefault(json.dumps([choice.index or 0, choice.model_dump(exclude={"index"})], default=str), choice)
    return sorted(found.values(), key=lambda choice: choice.index or 0)


@dataclass(frozen=True, slots=True)
class _NotWhole:
    problem: str


def _reply_of(choice: _Choice, wanted: Wanted) -> Reply | _NotWhole:
    text, reasoning, refusal = _parts_of(choice.message)
    reason = (choice.finish_reason or "").lower()
    if refusal:
        return Reply(text="", status="refused", error=refusal, reasoning=reasoning)
    if reason in WITHHELD:
        return Reply(text="", status="refused", error="stopped by the endpoint's content filter", reasoning=reasoning)
    if choice.error:
        return _NotWhole(f"the answer comes with an error: {str(choice.error)[:100]}")
    if reason in CALLS or choice.message.tool_calls or choice.message.function_call:
        return failed(f"finish_reason is {_shown(choice.finish_reason)}: the model calls a tool instead of answering")
    if reason not in WHOLE | CUT_OFF:
        return _NotWhole(
            f"finish_reason is {_shown(choice.finish_reason)}, which does not say that the answer is whole"
        )
    logprobs = _logprobs_of(choice) if wanted.logprobs and text else ()
    if reason in CUT_OFF:
        return Reply(text=text, status="truncated", logprobs=logprobs, reasoning=reasoning)
    if is_blank(text):
        return Reply(text="", status="refused", error="an empty answer", reasoning=reasoning)
    return Reply(text=text, status="ok", logprobs=logprobs, reasoning=reasoning)


def _shown(reason: str | None) -> str:
    return "missing" if reason is None else repr(reason[:40])


def _parts_of(message: _Message) -> tuple[str, str, str]:
    """(text, reasoning, refusal) of a message. Raises Unusable for a part of another type."""
    if not isinstance(message.content, list):
        reasoning = _words(message.reasoning_content) or _words(message.reasoning)
        return message.content or "", reasoning, message.refusal or ""
    text, reasoning = [], [_words(message.reasoning_content) or _words(message.reasoning)]
    refusal = message.refusal or ""
    for part in message.content:
        if isinstance(part, str):
            text.append(part)
        elif part.type in TEXT:
            text.append(part.text or "")
        elif part.type in THINKING:
            reasoning.append(_words([part.thinking, part.reasoning, part.summary, part.text]))
        elif part.type == "refusal":
            refusal = part.refusal or "the model refuses to answer"
        else:
            raise Unusable(f"the answer holds a part of type {part.type[:40]!r}, which is no text")
    return "".join(text), "\n".join(filter(None, reasoning)), refusal


def _words(value: Any) -> str:
    """The text of reasoning, which servers give as a text, a list or an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _words(value.get("text") or value.get("content"))
    if isinstance(value, list):
        return "\n".join(filter(None, map(_words, value)))
    return ""


def _logprobs_of(choice: _Choice) -> tuple[float, ...]:
    try:
        tokens = None if choice.logprobs is None else _Logprobs.model_validate(choice.logprobs).content
    except ValidationError:
        raise Unusable("the log-probs of the response are not what the protocol has") from None
    if not tokens:
        raise Unsupported("the endpoint answers without log-probs, which were asked for; set logprobs: false")
    return tuple(token.logprob for token in tokens)
