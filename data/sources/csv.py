"""Source `csv`: CSV files with a header."""

from collections.abc import Iterator
from typing import Literal

from hasse.data.field_mapping import TableSettings, files_digest, table_rows
from hasse.data.raw_prompt import RawPrompt

SUFFIX = ".csv"


class Settings(TableSettings):
    """The files with the rows, and the meaning of their columns."""

    kind: Literal["csv"] = "csv"


def rows(settings: Settings) -> Iterator[RawPrompt]:
    return table_rows(settings, "csv")


def digest(settings: Settings) -> str:
    return files_digest(settings.path, suffix=SUFFIX)
