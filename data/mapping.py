"""From a table's columns to prompts: the field mapping of a recipe, shared by every source of tables."""

import hashlib
import json
import string
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import Field

from data.config import Config, unkeyed
from data.errors import SourceError
from data.raw import RawPrompt
from data.records import SPLITS, Message
from data.registry import unknown
from data.tables import find_files, read_rows

NumberedRow = tuple[int, dict[str, Any]]


class Fields(Config):
    """Each is the name of a column, or a template such as "{premise} {hypothesis}" over columns."""

    text: str | None = Field(
        default="text", description="What is asked. A template with {documents} takes them all, numbered."
    )
    messages: str | None = Field(default=None, description="Column with a list of {role, content}, instead of text.")
    reference: str | None = Field(default=None, description="The expert's answer.")
    drafts: str | None = Field(
        default=None,
        description="Column with other answers that came along, like rejected ones: a list, or one text.",
    )
    label: str | None = Field(default=None, description="The gold label.")
    answers: str | None = Field(default=None, description="Column with the gold short answers: a list, or one text.")
    context: str | None = Field(default=None, description="What the answer must be based on; kept beside the text.")
    documents: str | None = Field(
        default=None, description="Column with a list of documents; each also makes a variant of the text."
    )
    group: str | None = Field(default=None, description="What results are also reported by.")
    prompt_id: str | None = Field(default=None, description="Ids of your own; otherwise a digest of the text.")
    cluster_key: str | None = Field(default=None, description="Rows with equal keys always share a split.")
    split: str | None = Field(
        default=None, description="A split given by the source: pretrain, train, validation or test."
    )


class TableSettings(Config):
    """A source of rows with a field mapping."""

    path: str | list[str] = unkeyed(description="File, glob pattern, folder, or a list of these.")
    fields: Fields = Fields()
    limit: int | None = Field(default=None, ge=1, description="Only the first so many rows.")
    on_bad_row: Literal["error", "keep"] = Field(
        default="error",
        description="A row without a prompt: stop with an error, or keep it as a row with status failed.",
    )


def table_rows(settings: TableSettings, kind: str | None = None) -> Iterator[RawPrompt]:
    """The prompts of all files, in order; `kind` as in `read_rows`. Raises SourceError, also when there are none."""
    count = 0
    for path in find_files(settings.path, suffix=f".{kind}" if kind else None):
        for raw in mapped(read_rows(path, kind), settings, file=str(path)):
            if count == settings.limit:
                return
            count += 1
            yield raw
    if not count:
        raise SourceError("holds no rows", file=settings.path)


def files_digest(path: str | list[str], *, suffix: str | None = None) -> str:
    """sha256 over the bytes of all files, in order; their names do not count."""
    state = hashlib.sha256()
    for file in find_files(path, suffix=suffix):
        with file.open("rb") as stream:
            state.update(hashlib.file_digest(stream, "sha256").digest())
    return state.hexdigest()


def mapped(rows: Iterable[NumberedRow], settings: TableSettings, *, file: str) -> Iterator[RawPrompt]:
    """The rows as prompts. Raises SourceError that names file, row and field."""
    for number, row in rows:
        yield _prompt(_Row(row, file, number), settings)


class _Row:
    """One row, with where it stands; every complaint names the place."""

    def __init__(self, values: dict[str, Any], file: str, number: int):
        self.values, self.file, self.number = values, file, number

    def error(self, problem: str, field: str) -> SourceError:
        return SourceError(problem, file=self.file, row=self.number, field=field)

    def column(self, name: str) -> Any:
        if name not in self.values:
            raise self.error(unknown(name, sorted(self.values), kind="column"), name)
        return self.values[name]

    def text(self, mapping: str | None) -> str | None:
        """A column's value as text, or a filled template; None when a column in it is empty."""
        if mapping is None:
            return None
        names = [name for _, name, _, _ in string.Formatter().parse(mapping) if name is not None]
        if not names:
            return self._plain(mapping)
        values = {name: self._plain(name) for name in names}
        return None if None in values.values() else mapping.format(**values)

    def _plain(self, name: str) -> str | None:
        value = self.column(name)
        if value is None or value == "":
            return None
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise self.error(f"must be text, found {type(value).__name__} {value!r:.60}", name)
        return str(value)

    def texts(self, name: str | None) -> tuple[str, ...]:
        """A column with a list of texts, one text, or (from CSV) a JSON list."""
        if name is None:
            return ()
        value = self.column(name)
        if isinstance(value, str) and value.startswith("["):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.error(f"looks like a list but is not JSON: {value!r:.60}", name) from None
        values = [value] if isinstance(value, str) else value or []
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise self.error(f"must be a list of texts, found {value!r:.60}", name)
        return tuple(values)


def _prompt(row: _Row, settings: TableSettings) -> RawPrompt:
    fields = settings.fields
    documents = row.texts(fields.documents)
    messages = _messages(row, fields.messages)
    text = messages[-1].content if messages else _asked(row, fields, documents)
    problem = None if text and text.strip() else "has no prompt"
    if problem and settings.on_bad_row == "error":
        raise row.error(
            f"{problem}; on_bad_row: keep would keep such rows aside", fields.messages or fields.text or "text"
        )
    return RawPrompt(
        text=text or "",
        messages=messages,
        variants=tuple(_asked(row, fields, (document,)) or "" for document in documents),
        context=row.text(fields.context),
        reference=row.text(fields.reference),
        drafts=row.texts(fields.drafts),
        label=row.text(fields.label),
        answers=row.texts(fields.answers),
        group=row.text(fields.group),
        prompt_id=row.text(fields.prompt_id),
        cluster_key=row.text(fields.cluster_key),
        split=_split(row, fields.split),
        file=row.file,
        row=row.number,
        error=problem,
    )


def _asked(row: _Row, fields: Fields, documents: tuple[str, ...]) -> str | None:
    if not documents or fields.text is None:
        return row.text(fields.text)
    shown = "\n".join(f"[{i}] {document}" for i, document in enumerate(documents, 1))
    inner = _Row({**row.values, "documents": shown}, row.file, row.number)
    return inner.text(fields.text)


def _messages(row: _Row, name: str | None) -> tuple[Message, ...] | None:
    if name is None:
        return None
    value = row.column(name)
    try:
        return tuple(Message(role=str(turn["role"]), content=str(turn["content"])) for turn in value or []) or None
    except (TypeError, KeyError, IndexError):
        raise row.error(f"must be a list of {{role, content}}, found {value!r:.60}", name) from None


def _split(row: _Row, mapping: str | None) -> str | None:
    split = row.text(mapping)
    if split is not None and split not in SPLITS:
        raise row.error(unknown(split, list(SPLITS), kind="split"), mapping or "split")
    return split
