"""The rows that a map stage has computed, in append-only chunks; each is one Parquet file, published by a rename.

The name of a chunk holds the digest of its bytes: <32 hex digits of chance>-<32 of its sha256>.parquet. So a chunk is
checked without any other file, and appending stays one rename. Chunks of earlier versions have no digest in their name;
the checksums of their pages are verified instead.
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
"""Statuses of rows that are there to be seen and counted, but are computed again by the next run."""

WHOLE = ("ok", "refused", "unparsable", "duplicate")
"""Statuses of rows that would be no others under a higher limit."""


@dataclass(frozen=True, slots=True)
class Unit(Generic[I]):
    """One input row and its key; it gives one or more output rows.

    base, limit: the key without a limit on the length of answers, and that limit. What came whole under a lower limit
    is taken for the unit's own rows, so that with a higher one only answers that were cut off are computed again.
    """

    key: str
    item: I
    base: str = ""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Keys:
    """Of units that differ in their items only: what else decides their rows, with the limit and without it."""

    start: str
    base: str
    limit: int

    @classmethod
    def of(cls, settings: dict[str, Any], *others: Any) -> "Keys":
        """settings: as `key_of` gives them; the limit is their `max_tokens`, if they have one and no more."""
        left, limit = without_limit(settings) or ({}, 0)
        start, base = (canonical([found, *others]).decode() for found in (settings, left))
        return cls(start, base if limit else "", limit)

    def unit(self, item: I, *decides: str) -> Unit[I]:
        """decides: all of the item that decides its rows."""
        base = text_digest(self.base, *decides) if self.base else ""
        return Unit(text_digest(self.start, *decides), item, base, self.limit)


@dataclass(frozen=True, slots=True)
class RowRange:
    chunk: Path
    start: int
    length: int


@dataclass(slots=True)
class Known:
    """places: key -> where the rows are; whole: base -> limits under which they came whole, and where."""

    places: dict[str, RowRange] = field(default_factory=dict)
    whole: defaultdict[str, list[tuple[int, RowRange]]] = field(default_factory=lambda: defaultdict(list))

    def has(self, unit: Unit[Any]) -> bool:
        if unit.key not in self.places and unit.base in self.whole:
            lower = [found for found in self.whole[unit.base] if found[0] < unit.limit]
            if lower:
                self.places[unit.key] = max(lower, key=lambda found: found[0])[1]
        return unit.key in self.places


class RowChunks:
    """The chunks of one stage at one version of its code, in a folder of the store.

    desk: folder of the job, where a chunk is written and, if that is stopped, left for the job's next try to delete:
    other processes may be writing chunks of their own.
    """

    def __init__(self, folder: Path, record: type, store: Store, *, desk: Path):
        self.folder, self.record, self.store, self.desk = folder, record, store, desk
        self.schema = schema_of(record)
        for column in COLUMNS:
            self.schema = self.schema.append(column)

    def index(self) -> Known:
        """Where rows are, unless they are open. A damaged chunk is set aside, for its rows to be computed again."""
        self.store.gather(self.folder, "*.parquet")
        found = Known()
        for path in sorted(self.folder.glob("*.parquet")):
            said = chunk_problem(path)
            if said is None or self._is_replaced(path, said):
                with contextlib.suppress(FileNotFoundError):  # another process has set the chunk aside
                    self._note(found, path)
        return found

    def _note(self, found: Known, path: Path) -> None:
        """Chunks of records with another schema are left alone: their rows are not known."""
        file = pq.ParquetFile(path)
        if file.schema_arrow.equals(self.schema, check_metadata=True):
            _note_rows(found, file.read(columns=[*(column.name for column in COLUMNS), "status"]), path)

    def _is_replaced(self, path: Path, said: str) -> bool:
        """Set a damaged chunk aside; gives whether a good one came from where it is shared."""
        beside = set_aside(path)
        LOG.warning("The row chunk %s is damaged: %s. It is kept as %s.", path, said, beside.name)
        if self.store.bring_again(path) and chunk_problem(path) is None:
            return True
        self.store.withdraw(path)
        LOG.warning("The rows of this chunk are computed again.")
        return False

    def append(self, units: Sequence[Unit[Any]], rows: Sequence[Sequence[Any]]) -> dict[str, RowRange]:
        """Publish one chunk with the rows of these units; gives their places."""
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
        """The rows at these places, in this order, as one table for each run of places in the same chunk."""
        read = lru_cache(maxsize=4)(self._read)
        for path, run in groupby(places, key=lambda place: place.chunk):
            indices = [i for place in run for i in range(place.start, place.start + place.length)]
            yield read(path).take(pa.array(indices))

    def _read(self, path: Path) -> pa.Table:
        """Raises DamagedArtifact where a chunk that was good a moment ago is not, or has gone."""
        try:
            table = pq.ParquetFile(path, page_checksum_verification=True).read()
        except (pa.ArrowInvalid, OSError) as error:
            raise DamagedArtifact(f"the row chunk {path} cannot be read any more: {error}") from error
        return table.drop_columns([column.name for column in COLUMNS])


def chunk_problem(path: Path, *, again: bool = False) -> str | None:
    """What is wrong with a chunk: all of it is read, once a process or, with `again`, every time."""
    expected = path.stem.partition("-")[2]
    try:
        if not path.is_file():
            return None if not path.exists() else "it is a folder instead of a file"
        if expected:
            return None if digest_once(path, again=again).startswith(expected) else "it differs from its digest"
        file = pq.ParquetFile(path, page_checksum_verification=True)
        for group in range(file.num_row_groups):
            file.read_row_group(group)
    except (pa.ArrowInvalid, OSError) as error:
        return f"it cannot be read: {error}"
    return None


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
