"""Read the conversation in a cell of a table.

A cell holds a list of turns {role, content}, or ShareGPT's older {from, value}. A content is a text or a list of text
parts, which are joined by line breaks. Whatever a `Message` cannot hold without loss is an error: tool calls, images, a
key of unknown meaning. A last turn by the assistant is the expert's answer and no part of the prompt.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from hasse.data.records import Message
from hasse.data.settings.registry import unknown
from hasse.data.tables.json_rows import parse_json
from hasse.data.tables.text_files import utf8_problem

ROLES = ("system", "user", "assistant")
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
TEXT_PARTS = ("text", "input_text", "output_text")
DEFAULTS: dict[str, Any] = {"weight": 1}
"""Keys of a turn that carry no information when they have this value."""

_QUOTED = Repr()
_QUOTED.maxstring = _QUOTED.maxother = 60


@dataclass(frozen=True, slots=True)
class ParsedConversation:
    """The turns of the prompt, and the assistant's answer to them, if there is one."""

    asked: tuple[Message, ...]
    answer: str | None = None


def parse_conversation(value: object, *, ignored: Collection[str] = ()) -> ParsedConversation | None:
    """The conversation in a cell, which holds a list or its JSON text; None for an empty cell.

    ignored: keys of turns and of text parts that are left out.
    Raises ValueError that names what a `Message` cannot hold.
    """
    turns = _listed(value)
    if not turns:
        return None
    messages = [_message(turn, f"turn {number}", ignored) for number, turn in enumerate(turns, 1)]
    if messages[-1].role == "assistant":
        return ParsedConversation(_checked(messages[:-1]), _answer(messages[-1]))
    return ParsedConversation(_checked(messages))


def text_problem(value: object) -> str | None:
    """Why a value is not a text that can be stored; None if it is."""
    return utf8_problem(value) if isinstance(value, str) else f"must be text, found {quoted(value)}"


def quoted(value: object) -> str:
    """The beginning of any value, for an error message."""
    return f"{_QUOTED.repr(value):.60}"


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, str) and value.strip():
        try:
            value = parse_json(value)
        except ValueError as error:
            raise ValueError(f"must be a list of {{role, content}}, found a text that is not JSON: {error}") from None
    if value is None or value == "":
        return ()
    if not isinstance(value, list):
        raise ValueError(f"must be a list of {{role, content}}, found {quoted(value)}")
    return value


def _message(turn: object, where: str, ignored: Collection[str]) -> Message:
    if not isinstance(turn, Mapping):
        raise ValueError(f"must be a list of {{role, content}}; {where} is {quoted(turn)}")
    keys = ("role", "content") if turn.get("role") is not None or "from" not in turn else ("from", "value")
    _check_keys(turn, (*keys, *ignored), where)
    return Message(role=_role(turn.get(keys[0]), keys[0], where), content=_content(turn.get(keys[1]), where, ignored))


def _check_keys(turn: Mapping[str, object], held: Collection[str], where: str) -> None:
    """Refuse unknown keys that have a value: nobody knows what would be lost without them."""
    for key, value in turn.items():
        if key not in held and value not in (None, "", [], {}) and value != DEFAULTS.get(key, turn):
            raise ValueError(
                f"{where} has {key!r}: {quoted(value)}, which a prompt cannot hold; leave the row out, or name the key "
                "in fields.ignored_keys if it may be lost"
            )


def _role(role: object, key: str, where: str) -> str:
    role = SHAREGPT_ROLES.get(role, role) if key == "from" and isinstance(role, str) else role
    if not isinstance(role, str):
        raise ValueError(f"{where} has no {key}: it must be one of {', '.join(ROLES)}, found {quoted(role)}")
    if role not in ROLES:
        raise ValueError(f"{where} has an {unknown(role, list(ROLES), kind='role')}{_renamed(role)}")
    return role


def _renamed(role: str) -> str:
    return "; name it 'system' if it is the same to your model" if role == "developer" else ""


def _content(content: object, where: str, ignored: Collection[str]) -> str:
    if isinstance(content, list) and content:
        return "\n".join(_part(part, f"part {i} of {where}", ignored) for i, part in enumerate(content, 1))
    if content is None or content == []:
        raise ValueError(f"{where} has no content; a text is needed")
    if not isinstance(content, str):
        raise ValueError(f"the content of {where} must be a text, found {quoted(content)}")
    return content


def _part(part: object, where: str, ignored: Collection[str]) -> str:
    if not isinstance(part, Mapping) or part.get("type") not in TEXT_PARTS or not isinstance(part.get("text"), str):
        raise ValueError(f"{where} is {quoted(part)}; only text is held: {{type: text, text}}")
    _check_keys(part, ("type", "text", *ignored), where)
    return part["text"]


def _answer(last: Message) -> str:
    if not last.content.strip():
        raise ValueError("the last turn is an empty answer of the assistant; leave that turn out")
    return last.content


def _checked(asked: list[Message]) -> tuple[Message, ...]:
    if not any(message.role == "user" for message in asked):
        raise ValueError("has no prompt: there is no turn of the user before the answer")
    if asked[-1].role == "assistant":
        raise ValueError("ends with two turns of the assistant; only one can be the answer")
    if not asked[-1].content.strip():
        raise ValueError("has no prompt: the last turn that is asked is empty")
    return tuple(asked)
