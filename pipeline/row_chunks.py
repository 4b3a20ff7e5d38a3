"""Keep the rows of a map stage in append-only chunks. A chunk is one Parquet file, published by a rename.

The name of a chunk holds the digest of its bytes: <32 random hex digits>-<32 hex digits of its sha256>.parquet. So a
chunk can be checked without any other file, and appending stays one rename. Chunks of earlier versions have no digest
in their name; for these, the checksums of the pages are verified.
"""

import contextlib
import logging
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hasse.data.errors import DamagedArtifact
from hasse.data.parquet import WRITE_OPTIONS, to_table
from hasse.data.schema import schema_of
from hasse.data.settings import without_limit
from hasse.pipeline.files import BEGUN, digest_once, make_folder, set_aside
from hasse.pipeline.fingerprint import canonical, file_digest, text_digest
from hasse.pipeline.store import Store

I = TypeVar("I")  # noqa: E741  an input row

LOG = logging.getLogger("hasse")

DIGEST_DIGITS = 32

KEY, BASE, LIMIT = "row_key", "row_base", "row_limit"
COLUMNS = [pa.field(KEY, pa.string(), False), pa.field(BASE, pa.string(), False), pa.field(LIMIT, pa.int64(), False)]

OPEN = ("budget_stopped", "failed")
"""Statuses of rows that are stored and counted, but computed again by the next run."""

WHOLE = ("ok", "refused", "unparsable", "duplicate")
"""Statuses of rows that a higher limit would not change."""


@dataclass(frozen=True, slots=True)
class Unit(Generic[I]):
    """One input row and its key. A unit has one or more output rows.

    base, limit: the key without the limit on the length of answers, and this limit. Rows that are complete under a
    lower limit count as the unit's own, so that a higher limit recomputes only the answers that were cut off.
    """

    key: str
    item: I
    base: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Keys:
    """The common part of the keys of units that differ only in their items, with the limit and without it."""

    start: str
    base: str
    limit: int

    @classmethod
    def of(cls, settings: dict[str, Any], *others: Any) -> "Keys":
        """settings: the result of `key_of`. The limit is their `max_tokens`, if they hold exactly one."""
        left, limit = without_limit(settings) or ({}, 0)
        start, base = (canonical([found, *others]).decode() for found in (settings, left))
        return cls(start, base if limit else "", limit)

    def unit(self, item: I, *decides: str) -> Unit[I]:
        """decides: all parts of the item that decide its rows."""
        base = text_digest(self.base, *decides) if self.base else ""
        return Unit(text_digest(self.start, *decides), item, base, self.limit)


@dataclass(frozen=True, slots=True)
class RowRange:
    """The place of a unit's rows in a chunk."""

    chunk: Path
    start: int
    length: int


@dataclass(slots=True)
class Known:
    """The units with rows. places: key -> place; whole: base -> (limit, place) of complete rows under that limit."""

    places: dict[str, RowRange] = field(default_factory=dict)
    whole: defaultdict[str, list[tuple[int, RowRange]]] = field(default_factory=lambda: defaultdict(list))

    def has(self, unit: Unit[Any]) -> bool:
        """Whether the unit has rows, its own or complete ones under a lower limit, which then count as its own."""
        if unit.key not in self.places and unit.base in self.whole:
            lower = [found for found in self.whole[unit.base] if found[0] < unit.limit]
            if lower:
                self.places[unit.key] = max(lower, key=lambda found: found[0])[1]
        return unit.key in self.places


class RowChunks:
    """The chunks of one stage at one version of its code, in a folder of the store.

    desk: the job's folder, in which a chunk is written. A killed process leaves its unfinished chunk there, and the
    job's next try deletes it; other processes write their chunks in folders of their own.
    """

    def __init__(self, folder: Path, record: type, store: Store, *, desk: Path):
        self.folder, self.record, self.store, self.desk = folder, record, store, desk
        self.schema = schema_of(record)
        for column in COLUMNS:
            self.schema = self.schema.append(column)

    def index(self) -> Known:
        """Find all rows that are not open. Damaged chunks are set aside, and their rows are computed again."""
        self.store.gather(self.folder, "*.parquet")
        found = Known()
        for path in sorted(self.folder.glob("*.parquet")):
            problem = chunk_problem(path)
            if problem is None or self._is_replaced(path, problem):
                with contextlib.suppress(FileNotFoundError):  # another process has set the chunk aside
                    self._note(found, path)
        return found

    def _note(self, found: Known, path: Path) -> None:
        """Note the rows of a chunk. Chunks with another schema are ignored."""
        file = pq.ParquetFile(path)
        if file.schema_arrow.equals(self.schema, check_metadata=True):
            _note_rows(found, file.read(columns=[*(column.name for column in COLUMNS), "status"]), path)

    def _is_replaced(self, path: Path, problem: str) -> bool:
        """Set a damaged chunk aside; returns whether a good copy could be fetched from where it is shared."""
        beside = set_aside(path)
        LOG.warning("The row chunk %s is damaged: %s. It is kept as %s.", path, problem, beside.name)
        if self.store.bring_again(path) and chunk_problem(path) is None:
            return True
        self.store.withdraw(path)
        LOG.warning("The rows of this chunk are computed again.")
        return False

    def append(self, units: Sequence[Unit[Any]], rows: Sequence[Sequence[Any]]) -> dict[str, RowRange]:
        """Publish one chunk with the rows of these units; returns their places."""
        make_folder(self.folder)
        table = to_table([row for group in rows for row in group], self.record)
        owners = [unit for unit, group in zip(units, rows, strict=True) for _ in group]
        for column, name in zip(COLUMNS, ("key", "base", "limit"), strict=True):
            table = table.append_column(column, pa.array([getattr(unit, name) for unit in owners], column.type))
        name = uuid.uuid4().hex
        temporary = self.desk / f".{name}.parquet{BEGUN}"
        pq.write_table(table.cast(self.schema), temporary, write_page_checksum=True, **WRITE_OPTIONS)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        path = self.folder / f"{name}-{file_digest(temporary)[:DIGEST_DIGITS]}.parquet"
        temporary.rename(path)
        self.store.share(path)
        return _runs([unit.key for unit in owners], path)

    def collect(self, places: Iterable[RowRange]) -> Iterator[pa.Table]:
        """The rows at these places, in order, with one table for each run of places in the same chunk."""
        read = lru_cache(maxsize=4)(self._read)
        for path, run in groupby(places, key=lambda place: place.chunk):
            indices = [i for place in run for i in range(place.start, place.start + place.length)]
            yield read(path).take(pa.array(indices))

    def _read(self, path: Path) -> pa.Table:
        """Read a chunk. Raises DamagedArtifact if it was good a moment ago and is not any more."""
        try:
            table = pq.ParquetFile(path, page_checksum_verification=True).read()
        except (pa.ArrowInvalid, OSError) as error:
            raise DamagedArtifact(f"the row chunk {path} cannot be read any more: {error}") from error
        return table.drop_columns([column.name for column in COLUMNS])


def chunk_problem(path: Path, *, again: bool = False) -> str | None:
    """The problem of a chunk, or None. The whole chunk is read, once in a process or, with `again`, every time."""
    expected = path.stem.partition("-")[2]
    try:
        if not path.is_file():
            return _no_file(path)
        if expected:
            return None if digest_once(path, again=again).startswith(expected) else "it differs from its digest"
        file = pq.ParquetFile(path, page_checksum_verification=True)
        for group in range(file.num_row_groups):
            file.read_row_group(group)
    except (pa.ArrowInvalid, OSError) as error:
        return f"it cannot be read: {error}"
    return None


def _no_file(path: Path) -> str | None:
    """The problem of a path that leads to no file; None if there is nothing, since another process has moved it."""
    if path.is_symlink() and not path.exists():
        return "it is a link that leads to no file"
    return "it is not a file" if path.exists() else None


def _note_rows(found: Known, table: pa.Table, path: Path) -> None:
    places = _runs(table[KEY].to_pylist(), path)
    for key in table.filter(pc.field("status").isin(OPEN))[KEY].to_pylist():
        places.pop(key, None)
    found.places.update(places)
    cut = set(table.filter(~pc.field("status").isin(WHOLE))[KEY].to_pylist())
    for key, base, limit in zip(*(table[column.name].to_pylist() for column in COLUMNS), strict=True):
        if base and key in places and key not in cut:
            found.whole[base].append((limit, places.pop(key)))


def _runs(keys: Sequence[str], path: Path) -> dict[str, RowRange]:
    places, start = {}, 0
    for key, run in groupby(keys):
        length = sum(1 for _ in run)
        places[key] = RowRange(path, start, length)
        start += length
    return places
