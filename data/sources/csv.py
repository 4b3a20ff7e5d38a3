"""Source `csv`: CSV with a header."""

from collections.abc import Iterator
from typing import Literal

from hasse.data.field_mapping import TableSettings, files_digest, table_rows
from hasse.data.raw_prompt import RawPrompt

SUFFIX = ".csv"


class Settings(TableSettings):
    """Where the rows are and what their columns mean."""

    kind: Literal["csv"] = "csv"


def rows(settings: Settings) -> Iterator[RawPrompt]:
    return table_rows(settings, "csv")


def digest(settings: Settings) -> str:
    return files_digest(settings.path, suffix=SUFFIX)
