"""Source `datasets`: a data set of the hub by name, or a folder written by `save_to_disk`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from data.config import unkeyed
from data.errors import SourceError
from data.mapping import TableSettings, mapped
from data.raw import RawPrompt
from data.registry import unknown


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
    number = settings.limit or len(found)
    if not len(found):
        raise SourceError("holds no rows", file=settings.path)
    numbered = ((i + 1, found[i]) for i in range(min(number, len(found))))
    return mapped(numbered, settings, file=settings.path)


def digest(settings: Settings) -> str:
    """Of the rows themselves, through Arrow, so that it does not depend on where a cache keeps them."""
    import hashlib

    state = hashlib.sha256()
    for batch in _load(settings).with_format("arrow").iter(batch_size=4096):
        state.update(repr(batch.to_pylist()).encode())
    return state.hexdigest()


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
