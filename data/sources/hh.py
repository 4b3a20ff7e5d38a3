r"""Source `hh`: pairs of dialogues in the format of Anthropic's HH-RLHF, of which people preferred one.

A row has `chosen` and `rejected`, each a text "\n\nHuman: ...\n\nAssistant: ...\n\nHuman: ...\n\nAssistant: ...". The
dialogues of a row differ in the last answer only. What they share is the prompt, the last turn of `chosen` is the
expert's answer, and that of `rejected` is a draft. JSONL, packed JSONL and Parquet are read.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from hasse.data.conversations import quoted, text_problem
from hasse.data.errors import SourceError
from hasse.data.field_mapping import files_digest
from hasse.data.raw_prompt import RawPrompt
from hasse.data.records import Message
from hasse.data.settings import Config, unkeyed
from hasse.data.tables import find_files, read_rows

HAS_GOLD = False

SPEAKERS = {"Human": "user", "Assistant": "assistant"}
FIELDS = ("chosen", "rejected")
_SPEAKER = re.compile(rf"(?:\A\s*|\n\n)({'|'.join(SPEAKERS)}):")


class Settings(Config):
    """The files with pairs of dialogues."""

    kind: Literal["hh"] = "hh"
    path: str | list[str] = unkeyed(description="File, glob pattern, folder, or a list of these.")
    limit: int | None = Field(default=None, ge=1, description="Use only this many rows, from the start.")
    on_bad_row: Literal["error", "keep"] = Field(
        default="error",
        description="What happens with a row that is no pair of dialogues: `error` stops, `keep` keeps the row with "
        "status failed.",
    )


def digest(settings: Settings) -> str:
    return files_digest(settings.path)


def rows(settings: Settings) -> Iterator[RawPrompt]:
    """One prompt for each row. Dialogues that begin with the same words of the user share a split."""
    count = 0
    for path in find_files(settings.path):
        for number, row in read_rows(path, columns=FIELDS):
            yield _raw_prompt(row, str(path), number, settings)
            count += 1
            if count == settings.limit:
                return
    if not count:
        raise SourceError("holds no rows", file=settings.path)


def parse_dialogue(text: str) -> list[Message]:
    """The turns of a dialogue. Raises ValueError unless user and assistant alternate, from the first to the last."""
    _, *parts = _SPEAKER.split(text)
    if not parts or not text.lstrip().startswith("Human:"):
        raise ValueError(f"must begin with 'Human:', found {quoted(text)}")
    speakers, contents = parts[::2], parts[1::2]
    turns = [
        Message(role=SPEAKERS[name], content=content.strip()) for name, content in zip(speakers, contents, strict=True)
    ]
    for number, (turn, name) in enumerate(zip(turns, speakers, strict=True), 1):
        if number > 1 and name == speakers[number - 2]:
            raise ValueError(f"turns {number - 1} and {number} are both by {name}; the speakers must alternate")
        if not turn.content:
            raise ValueError(f"turn {number}, by {name}, is empty")
    if turns[-1].role != "assistant":
        raise ValueError("must end with an answer of the Assistant")
    return turns


def _raw_prompt(row: Mapping[str, Any], path: str, number: int, settings: Settings) -> RawPrompt:
    try:
        return _pair(row, path, number)
    except SourceError as error:
        if settings.on_bad_row == "error":
            problem = f"{error.problem}; on_bad_row: keep would keep such rows aside"
            raise SourceError(problem, file=path, row=number, field=error.field) from error
        return RawPrompt(text="", file=path, row=number, error=f"field {error.field!r}: {error.problem}")


def _pair(row: Mapping[str, Any], path: str, number: int) -> RawPrompt:
    chosen, rejected = (_dialogue(row, name) for name in FIELDS)
    *asked, preferred = chosen
    *others, draft = rejected
    if asked != others:
        first = next((i for i, (a, b) in enumerate(zip(asked, others, strict=False)) if a != b), None)
        where = "has another number of turns than chosen" if first is None else f"differs in turn {first + 1}"
        raise SourceError(f"{where}; only the last answers may differ", field="rejected")
    if preferred == draft:
        raise SourceError("ends with the same answer as chosen, so that neither is preferred", field="rejected")
    return RawPrompt(
        text=asked[-1].content,
        messages=tuple(asked) if len(asked) > 1 else None,
        reference=preferred.content,
        drafts=(draft.content,),
        cluster_key=asked[0].content,
        file=path,
        row=number,
    )


def _dialogue(row: Mapping[str, Any], name: str) -> list[Message]:
    value = row.get(name)
    problem = "is missing or empty" if value is None or value == "" else text_problem(value)
    if problem is not None:
        raise SourceError(problem, field=name)
    try:
        return parse_dialogue(str(value))
    except ValueError as error:
        raise SourceError(str(error), field=name) from None
