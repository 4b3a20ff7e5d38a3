"""Source `squad`: questions on paragraphs in the format of SQuAD 2.0, the unanswerable ones among them.

A JSON file: {"data": [{"paragraphs": [{"context": ..., "qas": [{"id", "question", "answers": [{"text"}],
"is_impossible"}]}]}]}. All questions of a paragraph share a split.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from data.config import Config, unkeyed
from data.errors import SourceError
from data.mapping import files_digest
from data.raw import RawPrompt
from data.tables import find_files

TEMPLATE = "{context}\n\nQuestion: {question}\nAnswer:"


class Settings(Config):
    kind: Literal["squad"] = "squad"
    path: str | list[str] = unkeyed(description="JSON in the format of SQuAD 2.0: file, folder or glob.")
    template: str = Field(default=TEMPLATE, description="The prompt, with {context} and {question}.")
    no_answer: str = Field(
        default="unanswerable", description="The expert's answer to a question without one; as in task.no_answer."
    )
    limit: int | None = Field(default=None, ge=1, description="Only the first so many questions.")


def digest(settings: Settings) -> str:
    return files_digest([str(path) for path in find_files(settings.path, suffix=".json")])


def rows(settings: Settings) -> Iterator[RawPrompt]:
    """One prompt a question; `group` is answerable or unanswerable."""
    count = 0
    for path in find_files(settings.path, suffix=".json"):
        for context, number, qa in _questions(path):
            if settings.limit is not None and count >= settings.limit:
                return
            count += 1
            yield _prompt(context, qa, settings, path, number)


def _questions(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(context, number of the question from 1, question). Raises SourceError for another shape."""
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"is not JSON of the shape of SQuAD 2.0 ({error})", file=path, field="data") from error
    number = 0
    for article in articles:
        for paragraph in article.get("paragraphs", ()):
            for qa in paragraph.get("qas", ()):
                number += 1
                if not paragraph.get("context"):
                    raise SourceError("is missing", file=path, row=number, field="context")
                yield paragraph["context"], number, qa


def _prompt(context: str, qa: dict[str, Any], settings: Settings, path: Path, number: int) -> RawPrompt:
    if not str(qa.get("question") or "").strip():
        raise SourceError("is missing or empty", file=path, row=number, field="question")
    answers = tuple(dict.fromkeys(str(a["text"]) for a in qa.get("answers") or ()))
    impossible = bool(qa.get("is_impossible")) or not answers
    return RawPrompt(
        text=settings.template.format(context=context, question=qa["question"].strip()),
        context=context,
        reference=settings.no_answer if impossible else answers[0],
        answers=() if impossible else answers,
        group="unanswerable" if impossible else "answerable",
        prompt_id=str(qa["id"]) if qa.get("id") else None,
        cluster_key=context,
        file=str(path),
        row=number,
    )
