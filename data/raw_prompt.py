"""What a source yields: a prompt before it has an id, a cluster and a split."""

from dataclasses import dataclass
from typing import ClassVar

from hasse.data.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPrompt:
    """Fields as in `records.Prompt`; `file` and `row` say where it stands, for error messages.

    `cluster_key`: rows with equal keys always share a split (same premise, same question).
    `prompt_id`, `split`: only when the source itself has them.
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
    """Why this row is kept aside, when the source was told to keep bad rows."""
