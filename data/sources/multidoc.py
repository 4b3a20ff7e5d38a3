"""Source `multidoc`: questions over several documents, one of which holds the answer, at a chosen position.

The table has a question, its gold short answers, and the title and text of its gold document. The distractors are gold
documents of other questions that hold none of these answers. All positions of a question share a split.

Hashes of the question and of the documents decide the distractors, so an appended row changes another question's prompt
only if the new document's hash falls between those of its documents.
"""

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from hasse.data.conversations import quoted, text_problem
from hasse.data.errors import SourceError
from hasse.data.field_mapping import files_digest
from hasse.data.raw_prompt import RawPrompt
from hasse.data.settings import Config, Seed, unkeyed
from hasse.data.settings.registry import unknown
from hasse.data.tables import find_files, read_rows
from hasse.data.text import normalise_answer, unit_hash

Position = Literal["first", "middle", "last"]

MIXES_ROWS = True

COLUMNS = ("question", "answers", "gold_title", "gold_text")


class Settings(Config):
    """The table, and how a prompt is made of its documents."""

    kind: Literal["multidoc"] = "multidoc"
    path: str | list[str] = unkeyed(
        description="Parquet or JSONL with question, answers, gold_title, gold_text: a file, folder or glob pattern."
    )
    limit: int | None = Field(default=None, ge=1, description="Use only this many questions, from the start.")
    num_documents: int = Field(
        default=5,
        ge=1,
        le=50,
        description="The number of documents in a prompt. The Rescue paper has 5, with one candidate for each.",
    )
    positions: tuple[Position, ...] = Field(
        default=("first", "middle", "last"),
        min_length=1,
        description="The positions of the gold document. Each makes a prompt of its own.",
    )
    max_words: int | None = Field(
        default=None, ge=8, description="Cut documents to this many words, around the answer if there is one."
    )
    seed: Seed = Field(default=0, description="Another seed gives other distractors.")


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """One row of the table. Answers are looked for in `normal`, the normalised document."""

    question: str
    answers: tuple[str, ...]
    title: str
    text: str
    normal: str
    file: str
    row: int


def rows(settings: Settings) -> Iterator[RawPrompt]:
    """One prompt for each question and position. It holds an error if nearly all documents hold the question's answers.

    Raises SourceError.
    """
    items = _read(settings)
    if len(items) < settings.num_documents:
        raise SourceError(f"{len(items)} rows cannot give {settings.num_documents} documents", file=settings.path)
    ring = _Ring(items, settings.seed)
    for item in items:
        distractors = ring.distractors(item, settings.num_documents - 1)
        for position in dict.fromkeys(settings.positions):
            yield _prompt(item, distractors, position, settings)


def instruction(settings: Settings) -> str:
    return "Answer the question from the documents, in as few words as possible."


def digest(settings: Settings) -> str:
    return files_digest(settings.path)


def _read(settings: Settings) -> list[SourceDocument]:
    items = []
    for path in find_files(settings.path):
        for number, row in read_rows(path, columns=COLUMNS):
            if len(items) == settings.limit:
                return items
            items.append(_item(row, str(path), number))
    if not items:
        raise SourceError("holds no rows", file=settings.path)
    return items


def _item(row: dict[str, Any], file: str, number: int) -> SourceDocument:
    for column in COLUMNS:
        if column not in row:
            raise SourceError(unknown(column, sorted(row), kind="column"), file=file, row=number, field=column)
        if not row[column]:
            raise SourceError("is empty", file=file, row=number, field=column)
    answers = row["answers"]
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise SourceError(f"must be a list of texts, found {quoted(answers)}", file=file, row=number, field="answers")
    for column in COLUMNS:
        for text in answers if column == "answers" else [row[column]]:
            if (problem := text_problem(text)) is not None:
                raise SourceError(problem, file=file, row=number, field=column)
    text = row["gold_text"]
    return SourceDocument(
        row["question"], tuple(answers), row["gold_title"], text, normalise_answer(text), file, number
    )


class _Ring:
    """Documents on a circle, each at its hash. A question takes the documents that follow its own hash."""

    def __init__(self, items: list[SourceDocument], seed: int):
        self.seed = seed
        self.items = sorted(items, key=lambda item: unit_hash(seed, "document", item.text))
        self.places = [unit_hash(seed, "document", item.text) for item in self.items]

    def distractors(self, item: SourceDocument, wanted: int) -> list[SourceDocument]:
        """Up to `wanted` documents of other questions, without any that holds an answer of this question as words."""
        answers = [f" {normal} " for answer in item.answers if (normal := normalise_answer(answer))]
        start = bisect(self.places, unit_hash(self.seed, "question", item.question))
        chosen: dict[str, SourceDocument] = {}
        for i in range(len(self.items)):
            other = self.items[(start + i) % len(self.items)]
            if len(chosen) == wanted:
                break
            if other.question != item.question and not any(answer in f" {other.normal} " for answer in answers):
                chosen.setdefault(other.text, other)
        chosen.pop(item.text, None)
        return list(chosen.values())


def _prompt(
    item: SourceDocument, distractors: list[SourceDocument], position: Position, settings: Settings
) -> RawPrompt:
    place = {"first": 0, "middle": len(distractors) // 2, "last": len(distractors)}[position]
    documents = [*distractors[:place], item, *distractors[place:]]
    shown = [f"{d.title}: {_cut(d, item.answers if d is item else (), settings.max_words)}" for d in documents]
    return RawPrompt(
        text=_render(shown, item.question),
        variants=tuple(_render([document], item.question) for document in shown),
        answers=item.answers,
        group=position,
        cluster_key=item.question,
        file=item.file,
        row=item.row,
        error=None
        if len(documents) == settings.num_documents
        else f"only {len(distractors)} documents lack its answers",
    )


def _render(documents: list[str], question: str) -> str:
    listed = "\n".join(f"[{i}] {document}" for i, document in enumerate(documents, 1))
    return f"{listed}\nquestion: {question}\nanswer:"


def _cut(item: SourceDocument, answers: tuple[str, ...], max_words: int | None) -> str:
    """Cut to `max_words` words, from the start or, if the answer comes later, with the answer in the middle."""
    words = item.text.split()
    if max_words is None or len(words) <= max_words:
        return " ".join(words)
    place = item.text.find(answers[0]) if answers else -1
    position = len(item.text[:place].split()) if place >= 0 else 0
    start = 0 if position < max_words // 2 else min(position - max_words // 2, len(words) - max_words)
    return " ".join(words[start : start + max_words])
