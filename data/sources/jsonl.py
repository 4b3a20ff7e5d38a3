"""Source `jsonl`: JSON Lines files, one object a line."""

from collections.abc import Iterator
from typing import Literal

from hasse.data.field_mapping import TableSettings, files_digest, table_rows
from hasse.data.raw_prompt import RawPrompt

SUFFIX = ".jsonl"


class Settings(TableSettings):
    """The files with the rows, and the meaning of their columns."""

    kind: Literal["jsonl"] = "jsonl"


def rows(settings: Settings) -> Iterator[RawPrompt]:
    return table_rows(settings, "jsonl")


def digest(settings: Settings) -> str:
    return files_digest(settings.path, suffix=SUFFIX)
