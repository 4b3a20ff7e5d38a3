"""Source `datasets`: a data set of the hub by name, or a folder written by `save_to_disk`."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.field_mapping import NumberedRow, TableSettings, columns_of, raw_prompts
from hasse.data.raw_prompt import RawPrompt
from hasse.data.settings import unkeyed
from hasse.data.settings.registry import unknown
from hasse.data.tables.parquet_rows import ROWS_PER_BATCH, rows_of


class Settings(TableSettings):
    """Which rows of which data set, and what their columns mean."""

    kind: Literal["datasets"] = "datasets"
    path: str = unkeyed(description="Name on the hub, or a folder written by save_to_disk.")  # type: ignore[assignment]
    subset: str | None = Field(default=None, description="Configuration of the data set.")
    dataset_split: str | None = Field(
        default=None, description="Split of the data set, e.g. train; needed where it has several."
    )
    revision: str | None = Field(default=None, description="Commit, tag or branch on the hub.")


def rows(settings: Settings) -> Iterator[RawPrompt]:
    found = _load(settings)
    if not len(found):
        raise SourceError("holds no rows", file=settings.path)
    return raw_prompts(islice(_numbered(found, settings), settings.limit), settings, file=settings.path)


def digest(settings: Settings) -> str:
    """Of the rows themselves, through Arrow, so that it does not depend on where a cache keeps them."""
    state = hashlib.sha256()
    for row in _numbered(_load(settings), settings):
        state.update(repr(row).encode())
    return state.hexdigest()


def _numbered(found: Any, settings: Settings) -> Iterator[NumberedRow]:
    """(number from 1, row); only columns of the mapping are read, the others stand there as None."""
    wanted = [name for name in found.column_names if name in columns_of(settings.fields)]
    unread = dict.fromkeys(found.column_names)
    number = 0
    some = wanted or found.column_names[:1]
    for batch in found.with_format("arrow").select_columns(some).iter(batch_size=ROWS_PER_BATCH):
        for row in rows_of(batch, wanted, file=settings.path, before=number):
            number += 1
            yield number, {**unread, **row}


def _load(settings: Settings) -> Any:
    import datasets

    try:
        if Path(settings.path).is_dir():
            found = datasets.load_from_disk(settings.path)
        else:
            found = datasets.load_dataset(settings.path, settings.subset, revision=settings.revision)
    except Exception as error:  # the library raises many unrelated types
        raise SourceError(
            f"is neither a saved folder nor a data set that can be loaded: {error}", file=settings.path
        ) from error
    if isinstance(found, datasets.DatasetDict):
        return _split(found, settings)
    return found


def _split(found: Any, settings: Settings) -> Any:
    names = list(found)
    if settings.dataset_split is None and len(names) == 1:
        return found[names[0]]
    if settings.dataset_split not in names:
        raise SourceError(unknown(str(settings.dataset_split), names, kind="dataset_split"), file=settings.path)
    return found[settings.dataset_split]
