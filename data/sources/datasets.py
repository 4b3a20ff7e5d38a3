"""Source `datasets`: a data set of the Hugging Face hub, by name, or a folder written by `save_to_disk`."""

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
    """The data set, the choice of its rows, and the meaning of their columns."""

    kind: Literal["datasets"] = "datasets"
    path: str = unkeyed(description="The name on the hub, or a folder written by save_to_disk.")  # type: ignore[assignment]
    subset: str | None = Field(default=None, description="The configuration of the data set.")
    dataset_split: str | None = Field(
        default=None, description="The split of the data set, e.g. train; needed if it has several."
    )
    revision: str | None = Field(default=None, description="The commit, tag or branch on the hub.")


def rows(settings: Settings) -> Iterator[RawPrompt]:
    dataset = _load(settings)
    if not len(dataset):
        raise SourceError("holds no rows", file=settings.path)
    return raw_prompts(islice(_numbered(dataset, settings), settings.limit), settings, file=settings.path)


def digest(settings: Settings) -> str:
    """The digest of the rows as Arrow gives them, so that it does not depend on the place of a cache."""
    state = hashlib.sha256()
    for row in _numbered(_load(settings), settings):
        state.update(repr(row).encode())
    return state.hexdigest()


def _numbered(dataset: Any, settings: Settings) -> Iterator[NumberedRow]:
    """(row number from 1, row). Only columns of the mapping are read; the other columns are None."""
    wanted = [name for name in dataset.column_names if name in columns_of(settings.fields)]
    unread = dict.fromkeys(dataset.column_names)
    number = 0
    some = wanted or dataset.column_names[:1]
    for batch in dataset.with_format("arrow").select_columns(some).iter(batch_size=ROWS_PER_BATCH):
        for row in rows_of(batch, wanted, file=settings.path, before=number):
            number += 1
            yield number, {**unread, **row}


def _load(settings: Settings) -> Any:
    import datasets

    try:
        if Path(settings.path).is_dir():
            dataset = datasets.load_from_disk(settings.path)
        else:
            dataset = datasets.load_dataset(settings.path, settings.subset, revision=settings.revision)
    except Exception as error:  # the library raises many unrelated types
        raise SourceError(
            f"is neither a saved folder nor a data set that can be loaded: {error}", file=settings.path
        ) from error
    return _split(dataset, settings) if isinstance(dataset, datasets.DatasetDict) else dataset


def _split(splits: Any, settings: Settings) -> Any:
    names = list(splits)
    if settings.dataset_split is None and len(names) == 1:
        return splits[names[0]]
    if settings.dataset_split not in names:
        raise SourceError(unknown(str(settings.dataset_split), names, kind="dataset_split"), file=settings.path)
    return splits[settings.dataset_split]
