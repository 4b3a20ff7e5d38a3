"""Source `squad`: questions about paragraphs, in the format of SQuAD 2.0, some of them unanswerable.

A JSON file: {"data": [{"paragraphs": [{"context": ..., "qas": [{"id", "question", "answers": [{"text"}],
"is_impossible"}]}]}]}. All questions of a paragraph share a split.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from hasse.data.conversations import quoted, text_problem
from hasse.data.errors import SourceError
from hasse.data.field_mapping import files_digest
from hasse.data.raw_prompt import RawPrompt
from hasse.data.settings import Config, unkeyed
from hasse.data.tables import find_files
from hasse.data.tables.json_rows import parse_json
from hasse.data.tables.text_files import READ_ERRORS, read_text
from hasse.data.template import check_placeholders, fill

TEMPLATE = "{context}\n\nQuestion: {question}\nAnswer:"


class Settings(Config):
    """The files, the prompt's template, and the answer to unanswerable questions."""

    kind: Literal["squad"] = "squad"
    path: str | list[str] = unkeyed(description="JSON in the format of SQuAD 2.0: a file, folder or glob pattern.")
    template: str = Field(default=TEMPLATE, description="The prompt's template, with {context} and {question}.")
    no_answer: str = Field(
        default="unanswerable",
        description="The expert's answer to an unanswerable question. task.no_answer must say the same.",
    )
    limit: int | None = Field(default=None, ge=1, description="Use only this many questions, from the start.")

    @field_validator("template")
    @classmethod
    def _has_its_places(cls, template: str) -> str:
        return check_placeholders(template, ("question",), allowed=("context",))


def instruction(settings: Settings) -> str:
    return (
        "Answer the question with the shortest fitting words of the passage. If the passage does not answer it, reply: "
        f"{settings.no_answer}"
    )


def digest(settings: Settings) -> str:
    return files_digest([str(path) for path in find_files(settings.path, suffix=".json")])


def rows(settings: Settings) -> Iterator[RawPrompt]:
    """One prompt for each question. Its `group` is answerable or unanswerable."""
    count = 0
    for path in find_files(settings.path, suffix=".json"):
        for context, number, qa in _questions(path):
            if settings.limit is not None and count >= settings.limit:
                return
            count += 1
            yield _prompt(context, qa, settings, path, number)


def _questions(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(context, number of the question from 1, question). Raises SourceError for a file of any other shape."""
    number = 0
    for article in _objects(_parsed(path), "data", path, number):
        for paragraph in _objects(article, "paragraphs", path, number):
            for qa in _objects(paragraph, "qas", path, number):
                number += 1
                yield _text_at(paragraph, "context", path, number), number, qa


def _parsed(path: Path) -> object:
    try:
        return parse_json(read_text(path))
    except (*READ_ERRORS, ValueError) as error:
        raise SourceError(f"is not JSON of the shape of SQuAD 2.0: {error}", file=path) from error


def _objects(holder: object, name: str, path: Path, row: int) -> list[dict[str, Any]]:
    """The list of objects under a name; empty if a paragraph or an article has none."""
    found = holder.get(name, None if name == "data" else []) if isinstance(holder, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        problem = f"is not of the shape of SQuAD 2.0: a list of objects is needed, found {quoted(found)}"
        raise SourceError(problem, file=path, row=row or None, field=name)
    return found


def _text_at(holder: dict[str, Any], name: str, path: Path, row: int) -> str:
    value = holder.get(name)
    blank = value is None or (isinstance(value, str) and not value.strip())
    problem = "is missing or empty" if blank else text_problem(value)
    if problem is not None:
        raise SourceError(problem, file=path, row=row, field=name)
    return str(value)


def _prompt(context: str, qa: dict[str, Any], settings: Settings, path: Path, number: int) -> RawPrompt:
    question = _text_at(qa, "question", path, number)
    given = _objects(qa, "answers", path, number) if qa.get("answers") is not None else []
    answers = tuple(dict.fromkeys(_text_at(answer, "text", path, number) for answer in given))
    impossible = bool(qa.get("is_impossible")) or not answers
    return RawPrompt(
        text=fill(settings.template, {"context": context, "question": question.strip()}),
        context=context,
        reference=settings.no_answer if impossible else answers[0],
        answers=() if impossible else answers,
        group="unanswerable" if impossible else "answerable",
        prompt_id=_id(qa, path, number),
        cluster_key=context,
        file=str(path),
        row=number,
    )


def _id(qa: dict[str, Any], path: Path, number: int) -> str | None:
    value = qa.get("id")
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text_at(qa, "id", path, number)
