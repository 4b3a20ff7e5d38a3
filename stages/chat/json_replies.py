"""Questions to a chat model whose replies hold a JSON object; an unusable reply is asked for once more.

Who replies is a function of the caller's: an endpoint, a model that is loaded here, an engine.
"""

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, Literal, TypeVar

from hasse.data.thinking import answer_spans
from hasse.stages.chat.reply import Reply

T = TypeVar("T")
Schema = dict[str, Any]

SYSTEM = "You are a careful and impartial judge of answers. You reply with one JSON object and nothing else."

COMPLAINT = (
    "{question}\n\nYour last reply to this could not be used: {error}.\nIt was:\n{reply}\n\n"
    "Reply again, with the whole JSON object and nothing else."
)
"""The question stands first, as before, so that an endpoint that caches prefixes finds it."""

Structured = Literal["json_schema", "text"]
"""Whether a reply is held to its schema while it is written, or only read by it afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[T]):
    """`read` turns the reply's text into a value; it raises ValueError, in words for the one who replied."""

    text: str
    schema: Schema
    read: Callable[[str], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReply(Generic[T]):
    """`value` is None unless the status is ok; `unparsable` is a whole reply that cannot be read."""

    value: T | None
    status: str
    error: str | None = None
    num_asks: int = 1


Talk = Generator[Sequence[Question[Any]], Sequence[Reply], T]
"""Yields questions, is sent one reply to each, in order, and in the end returns something."""


def ask_once(questions: Sequence[Question[T]]) -> Talk[list[ParsedReply[T]]]:
    replies = (yield questions) if questions else []
    return [_answer(question, reply) for question, reply in zip(questions, replies, strict=True)]


def ask_twice(questions: Sequence[Question[T]]) -> Talk[list[ParsedReply[T]]]:
    """As `ask_once`; then what was unparsable is asked once more, with what was wrong."""
    replies = (yield questions) if questions else []
    answers = [_answer(question, reply) for question, reply in zip(questions, replies, strict=True)]
    wrong = [i for i, answer in enumerate(answers) if answer.status == "unparsable"]
    again = yield from ask_once([_complaint(questions[i], answers[i], replies[i]) for i in wrong])
    for i, answer in zip(wrong, again, strict=True):
        answers[i] = replace(answer, num_asks=2)
    return answers


def in_rounds(talks: Iterable[Talk[T]], replies: Callable[[Sequence[Question[Any]]], Sequence[Reply]]) -> list[T]:
    """What each returns: `replies` is asked what all ask first, then what all ask next; never without any question."""
    going = list(talks)
    results: dict[int, T] = {}
    told: dict[int, Any] = dict.fromkeys(range(len(going)))
    while told:
        asked: dict[int, Sequence[Question[Any]]] = {}
        for i, said in told.items():
            try:
                asked[i] = going[i].send(said)
            except StopIteration as end:
                results[i] = end.value
        questions = [question for part in asked.values() for question in part]
        found = iter(replies(questions) if questions else [])
        told = {i: list(islice(found, len(part))) for i, part in asked.items()}
    return [results[i] for i in range(len(going))]


def json_object(text: str, key: str) -> dict[str, Any]:
    """The JSON object in the text that has this key, whatever stands around it; thinking is cut off first.

    Raises ValueError where there is none, and where several disagree: a draft or a quotation is no reply. An object
    within another that has the key is a part of it.
    """
    found = [given for start, end, given in _objects(text, key) if _is_said(text, start, end)]
    if not found:
        raise ValueError(f"it holds no JSON object with {key!r}")
    if len({json.dumps(given[key], sort_keys=True) for given in found}) > 1:
        raise ValueError(f"it holds {len(found)} JSON objects that disagree about {key!r}; reply with one")
    return found[-1]


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
    """Raises ValueError for an object that gives a key two values."""
    given = dict(pairs)
    if len(given) < len(pairs) and any(given[name] is not value and given[name] != value for name, value in pairs):
        raise ValueError("a key is given twice, with different values")
    return given


def _is_said(text: str, start: int, end: int) -> bool:
    """Whether an object stands outside the thinking; tags within its own texts open and close none."""
    shown = text[:start] + "\0" * (end - start) + text[end:]
    return any(a <= start and end <= b for a, b in answer_spans(shown))


def object_schema(properties: Mapping[str, Schema]) -> Schema:
    """An object with all of these and nothing else, as strict endpoints want it."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _complaint(question: Question[T], answer: ParsedReply[T], reply: Reply) -> Question[T]:
    return replace(question, text=COMPLAINT.format(question=question.text, error=answer.error, reply=reply.text))


def _answer(question: Question[T], reply: Reply) -> ParsedReply[T]:
    if reply.status != "ok":
        return ParsedReply(value=None, status=reply.status, error=reply.error)
    try:
        return ParsedReply(value=question.read(reply.text), status="ok")
    except ValueError as error:
        return ParsedReply(value=None, status="unparsable", error=str(error))
