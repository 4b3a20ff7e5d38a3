"""Ask questions whose replies hold a JSON object; a question with an unusable reply is asked once more.

The caller decides who replies: an endpoint, a model in this process, or an engine.
"""

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, Literal, TypeVar

from hasse.data.thinking import answer_spans, split_thinking
from hasse.stages.chat.reply import Reply

T = TypeVar("T")
Schema = dict[str, Any]

SYSTEM = "You are a careful and impartial judge of answers. You reply with one JSON object and nothing else."

COMPLAINT = (
    "{question}\n\nYour last reply to this could not be used: {error}.\nIt was:\n{reply}\n\n"
    "Reply again, with the whole JSON object and nothing else."
)
"""The question comes first again, so that an endpoint that caches prefixes finds it."""

Structured = Literal["json_schema", "text"]
"""json_schema: decoding is constrained to the schema; text: the reply is free text, and is checked afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[T]):
    """A question. `read` turns the reply's text into a value, or raises ValueError with a message for the model."""

    text: str
    schema: Schema
    read: Callable[[str], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReply(Generic[T]):
    """A parsed reply. `value` is None unless the status is `ok`; `unparsable`: a whole reply that `read` refused."""

    value: T | None
    status: str
    error: str | None = None
    num_asks: int = 1
    reasoning: str = ""
    """The model's thinking, from which nothing was read."""


Talk = Generator[Sequence[Question[Any]], Sequence[Reply], T]
"""Yields questions, is sent one reply to each of them in order, and in the end returns a result."""


def ask_once(questions: Sequence[Question[T]]) -> Talk[list[ParsedReply[T]]]:
    """Ask each question once."""
    replies = (yield questions) if questions else []
    return [_answer(question, reply) for question, reply in zip(questions, replies, strict=True)]


def ask_twice(questions: Sequence[Question[T]]) -> Talk[list[ParsedReply[T]]]:
    """Ask each question; ask a question with an unparsable reply once more, with a message about what was wrong."""
    replies = (yield questions) if questions else []
    answers = [_answer(question, reply) for question, reply in zip(questions, replies, strict=True)]
    wrong = [i for i, answer in enumerate(answers) if answer.status == "unparsable"]
    again = yield from ask_once([_complaint(questions[i], answers[i], replies[i]) for i in wrong])
    for i, answer in zip(wrong, again, strict=True):
        answers[i] = replace(answer, num_asks=2)
    return answers


def in_rounds(talks: Iterable[Talk[T]], replies: Callable[[Sequence[Question[Any]]], Sequence[Reply]]) -> list[T]:
    """The result of each talk. `replies` gets what all talks ask first, then what all ask next; never an empty list."""
    open_talks = list(talks)
    results: dict[int, T] = {}
    inbox: dict[int, Any] = dict.fromkeys(range(len(open_talks)))
    while inbox:
        asked: dict[int, Sequence[Question[Any]]] = {}
        for i, received in inbox.items():
            try:
                asked[i] = open_talks[i].send(received)
            except StopIteration as end:
                results[i] = end.value
        questions = [question for part in asked.values() for question in part]
        answers = iter(replies(questions) if questions else [])
        inbox = {i: list(islice(answers, len(part))) for i, part in asked.items()}
    return [results[i] for i in range(len(open_talks))]


def json_object(text: str, key: str) -> dict[str, Any]:
    """The JSON object in the text that has this key, whatever surrounds it; objects in the thinking do not count.

    Raises ValueError where there is no such object, or where several disagree, such as a draft and the reply. An object
    within another object with the key does not count.
    """
    objects = [value for start, end, value in _objects(text, key) if _is_in_the_answer(text, start, end)]
    if not objects:
        raise ValueError(f"it holds no JSON object with {key!r}")
    if any(value[key] != objects[0][key] for value in objects[1:]):
        raise ValueError(f"it holds {len(objects)} JSON objects that disagree about {key!r}; reply with one")
    return objects[-1]


def _objects(text: str, key: str) -> list[tuple[int, int, dict[str, Any]]]:
    """(start, end, object) of each outermost object that has the key."""
    decoder = json.JSONDecoder(object_pairs_hook=_without_doubles)
    found = []
    start = text.find("{")
    while start >= 0:
        try:
            given, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            given, end = None, start + 1
        if isinstance(given, dict) and key in given:
            found.append((start, end, given))
            start = text.find("{", end)
        else:
            start = text.find("{", start + 1)
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ValueError for a key with two different values."""
    given = dict(pairs)
    if len(given) < len(pairs) and any(given[name] is not value and given[name] != value for name, value in pairs):
        raise ValueError("a key is given twice, with different values")
    return given


def _is_in_the_answer(text: str, start: int, end: int) -> bool:
    """Whether the object text[start:end] is outside the thinking. Tags within the object's own texts do not count."""
    shown = text[:start] + "\0" * (end - start) + text[end:]
    return any(a <= start and end <= b for a, b in answer_spans(shown))


def object_schema(properties: Mapping[str, Schema]) -> Schema:
    """The schema of an object with exactly these properties, in the form that strict endpoints require."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _complaint(question: Question[T], answer: ParsedReply[T], reply: Reply) -> Question[T]:
    return replace(question, text=COMPLAINT.format(question=question.text, error=answer.error, reply=_said(reply)))


def _said(reply: Reply) -> str:
    """The reply without its thinking, unless it is nothing else."""
    return split_thinking(reply.text).answer or reply.text


def _answer(question: Question[T], reply: Reply) -> ParsedReply[T]:
    if reply.status != "ok":
        return ParsedReply(value=None, status=reply.status, error=reply.error, reasoning=reply.all_reasoning)
    try:
        return ParsedReply(value=question.read(reply.text), status="ok", reasoning=reply.all_reasoning)
    except ValueError as error:
        return ParsedReply(value=None, status="unparsable", error=str(error), reasoning=reply.all_reasoning)
