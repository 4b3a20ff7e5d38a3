"""Questions to a chat model whose replies hold a JSON object; an unusable reply is asked for once more."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from stages.chat import ChatSettings, Reply, ask

T = TypeVar("T")

SYSTEM = "You are a careful and impartial judge of answers. You reply with one JSON object and nothing else."

COMPLAINT = (
    "{question}\n\nYour last reply to this could not be used: {error}.\nIt was:\n{reply}\n\n"
    "Reply again, with the whole JSON object and nothing else."
)
"""The question stands first, as before, so that an endpoint that caches prefixes finds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[T]):
    """`read` turns the reply's text into a value; it raises ValueError, in words for the one who replied."""

    text: str
    read: Callable[[str], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """`value` is None unless the status is ok; `unparsable` is a whole reply that cannot be read."""

    value: T | None
    status: str
    error: str | None = None
    num_asks: int = 1


def ask_once(questions: Sequence[Question[T]], chat: ChatSettings) -> list[Answer[T]]:
    return [_answer(question, reply) for question, reply in zip(questions, _replies(questions, chat), strict=True)]


def ask_twice(questions: Sequence[Question[T]], chat: ChatSettings) -> list[Answer[T]]:
    """As `ask_once`; then what was unparsable is asked once more, with what was wrong."""
    replies = _replies(questions, chat)
    answers = [_answer(question, reply) for question, reply in zip(questions, replies, strict=True)]
    wrong = [i for i, answer in enumerate(answers) if answer.status == "unparsable"]
    again = [
        replace(
            questions[i],
            text=COMPLAINT.format(question=questions[i].text, error=answers[i].error, reply=replies[i].text),
        )
        for i in wrong
    ]
    for i, answer in zip(wrong, ask_once(again, chat), strict=True):
        answers[i] = replace(answer, num_asks=2)
    return answers


def json_object(text: str, key: str) -> dict[str, Any]:
    """The first JSON object in the text that has this key, whatever stands around it. Raises ValueError."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and key in found:
            return found
        start = text.find("{", start + 1)
    raise ValueError(f"it holds no JSON object with {key!r}")


def _replies(questions: Sequence[Question[T]], chat: ChatSettings) -> list[Reply]:
    return list(ask([(SYSTEM, question.text) for question in questions], chat)) if questions else []


def _answer(question: Question[T], reply: Reply) -> Answer[T]:
    if reply.status != "ok":
        return Answer(value=None, status=reply.status, error=reply.error)
    try:
        return Answer(value=question.read(reply.text), status="ok")
    except ValueError as error:
        return Answer(value=None, status="unparsable", error=str(error))
