"""Map stages, row by row: results are kept under the key of their input row, in append-only chunks.

A rerun, a resume after `kill -9`, and tonight's run with 50 more prompts all compute exactly the missing rows.
The chunks of a stage lie in store/<stage>/rows/<code digest>/; each is one Parquet file, published by a rename.
"""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data import registry
from data.parquet import WRITE_OPTIONS, batched, to_table
from data.schema import schema_of
from pipeline.executors import Work
from pipeline.files import BEGUN
from pipeline.stage import Job
from pipeline.store import Store, disk_errors, table_name

I = TypeVar("I")  # noqa: E741  an input row
R = TypeVar("R")

EXECUTORS = "pipeline.executors"
KEY = "row_key"

OPEN = ("budget_stopped", "failed")
"""Statuses of rows that are there to be seen and counted, but are computed again by the next run."""


@dataclass(frozen=True, slots=True)
class Unit(Generic[I]):
    """One input row and its key; it gives one or more output rows."""

    key: str
    item: I


@dataclass(frozen=True, slots=True)
class _Place:
    chunk: Path
    start: int
    length: int


def map_rows(
    job: Job,
    units: Iterable[Unit[I]],
    compute: Callable[[list[I]], Iterable[Sequence[R]]],
    record: type[R],
    *,
    total: int,
    chunk_size: int,
    ahead: int = 0,
    gpus: int = 0,
    here: bool = False,
) -> None:
    """Write the job's table of `record`: known rows from the chunks, missing ones by `compute`, in the units' order.

    `compute` takes at most `chunk_size` inputs and yields one non-empty sequence of rows for each, in their order.
    The job's executor says where that happens; `here`: in this process whatever it says, for what must be one, such as
    the limits of an endpoint. `gpus`: of a worker elsewhere. `ahead`: so many chunks more are computed while one is
    written; `compute` is then called from several threads.
    `total` is the number of units, for the progress and for the check that none was lost.
    The job's metrics tell how many units were found and how many computed, and `units_open`, by status, those whose
    rows are to be computed again. Units are streamed, only keys are held.
    """
    chunks, known = _known(job, record)
    keys: list[str] = []
    computed, unfinished = 0, Counter[str]()
    drawn = 0

    def parts() -> Iterator[list[Unit[I]]]:
        nonlocal drawn
        for part in batched(_missing(units, known, keys), chunk_size):
            drawn += len(part)
            yield part

    executor = registry.load(EXECUTORS, "local" if here else job.executor.executor, kind="executor")
    job.progress(0, total)
    for part, rows in executor.computed(parts(), Work(compute=compute, ahead=ahead, gpus=gpus), job.executor):
        job.conserve("units of a chunk", expected=len(part), found=len(rows))
        with disk_errors(job.store.root):
            known |= chunks.append([unit.key for unit in part], rows)
        computed += len(part)
        unfinished.update(filter(None, map(_open_status, rows)))
        job.progress(len(keys) - drawn + computed, total)
    job.conserve("units", expected=total, found=len(keys))
    job.metrics |= {"units": total, "units_found": total - computed, "units_computed": computed}
    job.metrics |= {"units_open": dict(sorted(unfinished.items()))} if unfinished else {}
    _assemble(job, chunks, [known[key] for key in keys], record)


def missing(job: Job, units: Iterable[Unit[I]], record: type) -> Iterator[Unit[I]]:
    """The units that `map_rows` would compute."""
    return _missing(units, _known(job, record)[1], [])


def imagine_rows(job: Job, units: Iterable[Unit[I]], stand_ins: Callable[[I], Sequence[R]], record: type[R]) -> None:
    """Write the job's table as `map_rows` would, with stand-ins for the rows that it would compute."""
    chunks, known = _known(job, record)
    schema = schema_of(record)
    with pq.ParquetWriter(job.path / f"{table_name(record)}.parquet", schema) as writer:
        for is_known, run in groupby(units, key=lambda unit: unit.key in known):
            if is_known:
                for table in chunks.collect(known[unit.key] for unit in run):
                    writer.write_table(table.cast(schema))
            else:
                writer.write_table(to_table([row for unit in run for row in stand_ins(unit.item)], record))


def _known(job: Job, record: type) -> tuple["RowChunks", dict[str, "_Place"]]:
    folder = job.store.root / job.path.parent.name / "rows" / job.code[:24]
    chunks = RowChunks(folder, record, job.store, desk=job.path)
    return chunks, {} if job.refresh else chunks.index()


def _open_status(rows: Sequence[Any]) -> str | None:
    found = {row.status for row in rows}
    return next((status for status in OPEN if status in found), None)


def _missing(units: Iterable[Unit[I]], known: Mapping[str, "_Place"], keys: list[str]) -> Iterator[Unit[I]]:
    """The units without rows; the key of every unit is noted in `keys`."""
    for unit in units:
        keys.append(unit.key)
        if unit.key not in known:
            yield unit


class RowChunks:
    """The append-only chunks of one stage at one version of its code, in a folder of the store.

    desk: folder of the job, where a chunk is written and, if that is stopped, left for the job's next try to delete:
    other processes may be writing chunks of their own.
    """

    def __init__(self, folder: Path, record: type, store: Store, *, desk: Path):
        self.folder, self.record, self.store, self.desk = folder, record, store, desk
        self.schema = schema_of(record).append(pa.field(KEY, pa.string(), nullable=False))

    def index(self) -> dict[str, _Place]:
        """Key -> where its rows are, unless they are open. A chunk that cannot be read is set aside, for its rows to be
        computed again."""
        self.store.gather(self.folder, "*.parquet")
        found: dict[str, _Place] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                file = pq.ParquetFile(path)
                if not file.schema_arrow.equals(self.schema, check_metadata=True):
                    continue
                table = file.read(columns=[KEY, "status"])
            except (pa.ArrowInvalid, OSError):
                path.rename(path.with_suffix(".corrupt"))
                continue
            places = _runs(table[KEY].to_pylist(), path)
            for key in table.filter(pc.field("status").isin(OPEN))[KEY].to_pylist():
                places.pop(key, None)
            found.update(places)
        return found

    def append(self, keys: Sequence[str], rows: Sequence[Sequence[R]]) -> dict[str, _Place]:
        """Publish one chunk with the rows of these keys; gives their places."""
        self.folder.mkdir(parents=True, exist_ok=True)
        repeated = [key for key, group in zip(keys, rows, strict=True) for _ in group]
        table = to_table([row for group in rows for row in group], self.record)
        table = table.append_column(self.schema.field(KEY), pa.array(repeated, pa.string())).cast(self.schema)
        path = self.folder / f"{uuid.uuid4().hex}.parquet"
        temporary = self.desk / f".{path.name}{BEGUN}"
        pq.write_table(table, temporary, write_page_checksum=True, **WRITE_OPTIONS)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(path)
        self.store.share(path)
        return _runs(repeated, path)

    def collect(self, places: Iterable[_Place]) -> Iterator[pa.Table]:
        """The rows at these places, in this order, as one table for each run of places in the same chunk."""
        read = lru_cache(maxsize=4)(self._read)
        for path, run in groupby(places, key=lambda place: place.chunk):
            indices = [i for place in run for i in range(place.start, place.start + place.length)]
            yield read(path).take(pa.array(indices))

    def _read(self, path: Path) -> pa.Table:
        return pq.ParquetFile(path, page_checksum_verification=True).read().drop_columns([KEY])


def _runs(keys: Sequence[str], path: Path) -> dict[str, _Place]:
    places, start = {}, 0
    for key, run in groupby(keys):
        length = sum(1 for _ in run)
        places[key] = _Place(path, start, length)
        start += length
    return places


def _assemble(job: Job, chunks: RowChunks, places: list[_Place], record: type) -> None:
    schema = schema_of(record)
    counts: Counter[str] = Counter()
    with (
        disk_errors(job.store.root),
        pq.ParquetWriter(job.path / f"{table_name(record)}.parquet", schema, **WRITE_OPTIONS) as writer,
    ):
        for tables in batched(chunks.collect(places), 64):
            table = pa.concat_tables(tables).cast(schema)
            for item in table["status"].value_counts().to_pylist():
                counts[item["values"]] += item["counts"]
            writer.write_table(table)
    job.count(record, counts)
