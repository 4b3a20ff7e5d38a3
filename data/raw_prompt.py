"""The prompts that a source yields, before they have an id, a cluster and a split."""

from dataclasses import dataclass
from typing import ClassVar

from hasse.data.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPrompt:
    """The fields are those of `records.Prompt`. Error messages name `file` and `row`.

    cluster_key: rows with equal keys always share a split, e.g. rows with the same premise or the same question.
    prompt_id, split: set only if the source itself gives them.
    """

    schema_version: ClassVar[int] = 1

    text: str
    messages: tuple[Message, ...] | None = None
    variants: tuple[str, ...] = ()
    context: str | None = None
    reference: str | None = None
    drafts: tuple[str, ...] = ()
    label: str | None = None
    answers: tuple[str, ...] = ()
    group: str | None = None
    prompt_id: str | None = None
    cluster_key: str | None = None
    split: str | None = None
    file: str | None = None
    row: int | None = None
    error: str | None = None
    """Why the row cannot be a prompt. Only sources that are told to keep bad rows yield such rows."""
