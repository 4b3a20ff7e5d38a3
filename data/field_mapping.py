"""Make prompts from a table's columns by the field mapping of a recipe; every source that reads tables uses it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from hasse.data.conversations import ParsedConversation, parse_conversation, quoted
from hasse.data.errors import SourceError
from hasse.data.raw_prompt import RawPrompt
from hasse.data.records import SPLITS
from hasse.data.settings import Config, unkeyed
from hasse.data.settings.registry import unknown
from hasse.data.tables import find_files, read_rows
from hasse.data.tables.json_rows import parse_json
from hasse.data.tables.text_files import utf8_problem
from hasse.data.template import fill, placeholders

NumberedRow = tuple[int, dict[str, Any]]


class MappingError(SourceError):
    """The field mapping does not fit the table. No single row is at fault, so `on_bad_row` does not apply."""


class Fields(Config):
    """Each field is the name of a column, or a template of columns such as "{premise} {hypothesis}"."""

    text: str | None = Field(
        default="text",
        description="The question. In a template, {documents} stands for the numbered list of all documents.",
    )
    messages: str | None = Field(
        default=None,
        description="Column with a conversation instead of text: a list of {role, content}, or its JSON text. A last "
        "turn by the assistant is the expert's answer.",
    )
    ignored_keys: tuple[str, ...] = Field(
        default=(),
        description="Keys of the turns in `messages` that are left out, like timestamp. Any other key with a value, "
        "like tool_calls, is an error.",
    )
    reference: str | None = Field(default=None, description="The expert's answer.")
    drafts: str | None = Field(
        default=None,
        description="Column with other answers, for instance rejected ones: a list, or one text.",
    )
    label: str | None = Field(default=None, description="The gold label.")
    answers: str | None = Field(default=None, description="Column with the gold short answers: a list, or one text.")
    context: str | None = Field(
        default=None, description="The text that the answer must be based on. It is kept beside the prompt's text."
    )
    documents: str | None = Field(
        default=None, description="Column with a list of documents. Each document also makes a variant of the text."
    )
    group: str | None = Field(default=None, description="Results are also reported for each value of this field.")
    prompt_id: str | None = Field(default=None, description="The prompt's id. Left out: a digest of the text.")
    cluster_key: str | None = Field(default=None, description="Rows with equal keys always share a split.")
    split: str | None = Field(
        default=None, description="The split that the source gives the row: pretrain, train, validation or test."
    )

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> "Fields":
        if self.messages is not None and self.documents is not None:
            raise ValueError("documents make variants of a text, not of a conversation; leave one of the two out")
        return self


class TableSettings(Config):
    """Files with rows, and the field mapping of these rows."""

    path: str | list[str] = unkeyed(description="File, glob pattern, folder, or a list of these.")
    fields: Fields = Field(default=Fields(), description="The columns that make up a prompt.")
    limit: int | None = Field(default=None, ge=1, description="Use only this many rows, from the start.")
    on_bad_row: Literal["error", "keep"] = Field(
        default="error",
        description="What happens with a row that cannot be a prompt: `error` stops, `keep` keeps the row with status "
        "failed.",
    )


def table_rows(settings: TableSettings, kind: str | None = None) -> Iterator[RawPrompt]:
    """The prompts of all files, in order; `kind` as in `read_rows`. Raises SourceError, also if there are no rows."""
    count = 0
    for path in find_files(settings.path, suffix=f".{kind}" if kind else None):
        rows = read_rows(path, kind, columns=columns_of(settings.fields))
        for raw in raw_prompts(rows, settings, file=str(path)):
            yield raw
            count += 1
            if count == settings.limit:
                return
    if not count:
        raise SourceError("holds no rows", file=settings.path)


def columns_of(fields: Fields) -> set[str]:
    """All columns that the mapping may read."""
    mappings = [value for name, value in fields if isinstance(value, str)]
    return {name for mapping in mappings for name in (mapping, *_names(mapping))}


def _names(template: str) -> list[str]:
    try:
        return placeholders(template)
    except ValueError:
        return []


def files_digest(path: str | list[str], *, suffix: str | None = None) -> str:
    """The sha256 of the bytes of all files, in order. The names of the files do not matter."""
    state = hashlib.sha256()
    for file in find_files(path, suffix=suffix):
        with file.open("rb") as stream:
            state.update(hashlib.file_digest(stream, "sha256").digest())
    return state.hexdigest()


def raw_prompts(rows: Iterable[NumberedRow], settings: TableSettings, *, file: str) -> Iterator[RawPrompt]:
    """Make a prompt of each row. Raises SourceError that names file, row and field."""
    for number, row in rows:
        yield _raw_prompt(_Row(row, file, number), settings)


class _Row:
    """One row with its file and its number, which every error names."""

    def __init__(self, values: Mapping[str, Any], file: str, number: int):
        self.values, self.file, self.number = values, file, number

    def error(self, problem: str, field: str) -> SourceError:
        return SourceError(problem, file=self.file, row=self.number, field=field)

    def has(self, mapping: str | None) -> bool:
        """Whether the table has all columns of a mapping."""
        return mapping is not None and set(_names(mapping) or [mapping]) <= self.values.keys()

    def column(self, name: str) -> Any:
        if name not in self.values:
            raise MappingError(
                unknown(name, sorted(self.values), kind="column"), file=self.file, row=self.number, field=name
            )
        return self.values[name]

    def text(self, mapping: str | None) -> str | None:
        """The value of a column as text, or a filled template; None when one of its columns is empty."""
        if mapping is None:
            return None
        if mapping in self.values or not (names := self._placeholders(mapping)):
            return self._plain(mapping)
        values = {name: value for name in names if (value := self._plain(name)) is not None}
        return fill(mapping, values) if len(values) == len(set(names)) else None

    def _placeholders(self, mapping: str) -> list[str]:
        try:
            return placeholders(mapping)
        except ValueError as error:
            raise MappingError(str(error), file=self.file, row=self.number, field=mapping) from None

    def _plain(self, name: str) -> str | None:
        value = self.column(name)
        if value is None or value == "":
            return None
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise self.error(f"must be text, found {type(value).__name__} {quoted(value)}", name)
        return self.storable(str(value), name)

    def storable(self, text: str, name: str) -> str:
        """Return the text. Raises SourceError for a text that UTF-8 cannot hold."""
        if (problem := utf8_problem(text)) is not None:
            raise self.error(problem, name)
        return text

    def texts(self, name: str | None) -> tuple[str, ...]:
        """The texts of a column that holds a list, one text or, in CSV, a JSON list."""
        if name is None:
            return ()
        value = self.column(name)
        if isinstance(value, str) and value.startswith("["):
            try:
                value = parse_json(value)
            except ValueError:
                raise self.error(f"looks like a list but is not JSON: {quoted(value)}", name) from None
        if value is None or value == "":
            return ()
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise self.error(f"must be a list of texts, found {quoted(value)}", name)
        return tuple(self.storable(v, name) for v in values)


def _raw_prompt(row: _Row, settings: TableSettings) -> RawPrompt:
    """The row as a prompt. With `on_bad_row: keep`, a row that cannot be a prompt becomes a prompt with an error."""
    try:
        return _prompt(row, settings.fields)
    except MappingError:
        raise
    except SourceError as error:
        if settings.on_bad_row == "error":
            raise row.error(
                f"{error.problem}; on_bad_row: keep would keep such rows aside", error.field or ""
            ) from error
        problem = error.problem if error.field is None else f"field {error.field!r}: {error.problem}"
        return RawPrompt(text="", prompt_id=_id_of(row, settings), file=row.file, row=row.number, error=problem)


def _id_of(row: _Row, settings: TableSettings) -> str | None:
    try:
        return row.text(settings.fields.prompt_id)
    except SourceError:
        return None


def _prompt(row: _Row, fields: Fields) -> RawPrompt:
    documents = row.texts(fields.documents)
    talk = _conversation(row, fields)
    text = talk.asked[-1].content if talk else _text(row, fields, documents)
    return RawPrompt(
        text=text,
        messages=talk.asked if talk else None,
        variants=tuple(_asked(row, fields, (document,)) or "" for document in documents),
        context=row.text(fields.context),
        reference=_reference(row, fields, talk),
        drafts=row.texts(fields.drafts),
        label=row.text(fields.label),
        answers=row.texts(fields.answers),
        group=row.text(fields.group),
        prompt_id=row.text(fields.prompt_id),
        cluster_key=row.text(fields.cluster_key),
        split=_split(row, fields.split),
        file=row.file,
        row=row.number,
    )


def _conversation(row: _Row, fields: Fields) -> ParsedConversation | None:
    """The conversation of the row; None for a row that has a text instead."""
    if fields.messages is None:
        return None
    try:
        talk = parse_conversation(row.column(fields.messages), ignored=fields.ignored_keys)
    except ValueError as error:
        raise row.error(str(error), fields.messages) from None
    if talk is None:
        if not row.has(fields.text):
            raise row.error("has no prompt", fields.messages)
        return None
    for content in (*(message.content for message in talk.asked), talk.answer or ""):
        row.storable(content, fields.messages)
    return talk


def _reference(row: _Row, fields: Fields, talk: ParsedConversation | None) -> str | None:
    """The expert's answer, from its own field or from the last turn of the conversation."""
    given, last = row.text(fields.reference), talk.answer if talk else None
    if given is not None and last is not None and given.strip() != last.strip():
        problem = f"is another answer than the last turn of {fields.messages!r}, by the assistant; keep one of the two"
        raise row.error(problem, fields.reference or "reference")
    return last if given is None else given


def _text(row: _Row, fields: Fields, documents: tuple[str, ...]) -> str:
    text = _asked(row, fields, documents)
    if text is None or not text.strip():
        raise row.error("has no prompt", fields.text or "text")
    return text


def _asked(row: _Row, fields: Fields, documents: tuple[str, ...]) -> str | None:
    if not documents or fields.text is None:
        return row.text(fields.text)
    listed = "\n".join(f"[{i}] {document}" for i, document in enumerate(documents, 1))
    inner = _Row({**row.values, "documents": listed}, row.file, row.number)
    return inner.text(fields.text)


def _split(row: _Row, mapping: str | None) -> str | None:
    split = row.text(mapping)
    if split is not None and split not in SPLITS:
        raise row.error(unknown(split, list(SPLITS), kind="split"), mapping or "split")
    return split
