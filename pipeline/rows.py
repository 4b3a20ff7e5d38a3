"""Map stages compute row by row: the result of each input row is kept under the row's key, in append-only chunks.

A rerun, a resume after `kill -9`, and tonight's run with 50 more prompts all compute exactly the missing rows.
The chunks of a stage lie in store/<stage>/rows/<code digest>/.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from hasse.data.parquet import WRITE_OPTIONS, batched, to_table
from hasse.data.schema import schema_of
from hasse.data.settings import registry
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.executors import Computation
from hasse.pipeline.row_chunks import OPEN, Known, RowChunks, RowRange, Unit
from hasse.pipeline.stage import Job
from hasse.pipeline.store import table_name

I = TypeVar("I")  # noqa: E741  an input row
R = TypeVar("R")

EXECUTORS = "hasse.pipeline.executors"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTable:
    """A table that a map stage has written in its job's folder.

    counts: rows by status. units, units_computed: all input rows, and those that were not in the store.
    units_open: input rows, by status, that the next run computes again.
    """

    path: Path
    counts: dict[str, int]
    units: int
    units_computed: int
    units_open: dict[str, int]

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers of units as a manifest's metrics hold them."""
        found = self.units - self.units_computed
        numbers = {"units": self.units, "units_found": found, "units_computed": self.units_computed}
        return numbers | ({"units_open": self.units_open} if self.units_open else {})


def map_rows(
    job: Job,
    units: Iterable[Unit[I]],
    compute: Callable[[Any], Iterable[Sequence[R]]],
    record: type[R],
    *,
    total: int,
    chunk_size: int,
    table: str | None = None,
    ahead: int = 0,
    gpus: int = 0,
    stream: bool = False,
) -> WrittenTable:
    """Write a table of `record` with the rows of all units, in their order; the stage records its counts and metrics.

    Known rows come from the chunks, missing ones from `compute`. The other arguments are those of `RowTable`, which
    serves stages that compute their units in more than one way.
    """
    rows = RowTable(job, record, total=total, table=table)
    return rows.write(rows.add(units, compute, chunk_size=chunk_size, ahead=ahead, gpus=gpus, stream=stream))


class RowTable(Generic[R]):
    """A table of the job, made of the rows of `total` units. Units are streamed; only their keys are held.

    table: the name of the file, without its ending; the record's own where it is left out.
    """

    def __init__(self, job: Job, record: type[R], *, total: int, table: str | None = None):
        self.job, self.record, self.total = job, record, total
        self.path = job.path / f"{table or table_name(record)}.parquet"
        self.chunks, self.known = _known(job, record)
        self.open = Counter[str]()
        self.num_seen = self.num_missing = self.num_computed = 0  # units

    def add(
        self,
        units: Iterable[Unit[I]],
        compute: Callable[[Any], Iterable[Sequence[R]]],
        *,
        chunk_size: int,
        ahead: int = 0,
        gpus: int = 0,
        stream: bool = False,
    ) -> list[str]:
        """Compute the missing rows of these units; returns the keys of all of them.

        `compute` takes at most `chunk_size` inputs and yields one non-empty sequence of rows for each, in their order.
        The job's executor says where that happens.
        gpus: the number that a worker on another machine needs. ahead: how many further chunks are computed while one
        is written; `compute` is then called from several threads.
        stream: `compute` runs in this process, whatever the executor, and is called once with an iterator over all
        missing inputs, from which it may draw in another thread. This serves work that waits for an endpoint and has
        limits of its own.
        """
        job, keys = self.job, []
        missing = self._missing(units, keys)
        if stream:
            computed = _streamed(missing, compute, chunk_size)
        else:
            executor = registry.load(EXECUTORS, job.executor.executor, kind="executor")
            work = Computation(compute=compute, ahead=ahead, gpus=gpus)
            computed = executor.computed(batched(missing, chunk_size), work, job.executor)
        self._report()
        for part, rows in computed:
            self._append(part, rows)
            self._report()
        return keys

    def write(self, keys: Sequence[str]) -> WrittenTable:
        """Write the rows of these units, in this order. Raises WorkError when the units are not `total`."""
        self.job.conserve("units", expected=self.total, found=len(keys))
        return WrittenTable(
            path=self.path,
            counts=self._assemble([self.known.places[key] for key in keys]),
            units=self.total,
            units_computed=self.num_computed,
            units_open=dict(sorted(self.open.items())),
        )

    def _missing(self, units: Iterable[Unit[I]], keys: list[str]) -> Iterator[Unit[I]]:
        """The units without rows; the key of every unit is appended to `keys`."""
        for unit in units:
            keys.append(unit.key)
            self.num_seen += 1
            if not self.known.has(unit):
                self.num_missing += 1
                yield unit

    def _append(self, part: Sequence[Unit[Any]], rows: Sequence[Sequence[R]]) -> None:
        self.job.conserve("units of a chunk", expected=len(part), found=len(rows))
        with disk_errors(self.job.store.root):
            self.known.places |= self.chunks.append(part, rows)
        self.num_computed += len(part)
        self.open.update(filter(None, map(_open_status, rows)))

    def _report(self) -> None:
        self.job.progress(self.num_seen - self.num_missing + self.num_computed, self.total)

    def _assemble(self, places: list[RowRange]) -> dict[str, int]:
        """Write the table; returns its rows by status."""
        schema = schema_of(self.record)
        counts: Counter[str] = Counter()
        with disk_errors(self.job.store.root), pq.ParquetWriter(self.path, schema, **WRITE_OPTIONS) as writer:
            for tables in batched(self.chunks.collect(places), 64):
                table = pa.concat_tables(tables).cast(schema)
                for item in table["status"].value_counts().to_pylist():
                    counts[item["values"]] += item["counts"]
                writer.write_table(table)
        return dict(sorted(counts.items()))


def _streamed(
    units: Iterable[Unit[I]], compute: Callable[[Any], Iterable[Sequence[R]]], size: int
) -> Iterator[tuple[list[Unit[I]], list[Sequence[R]]]]:
    pending = PendingItems(units)
    for rows in batched(compute(unit.item for unit in pending), size):
        yield [pending.oldest() for _ in rows], rows
    if without_rows := list(pending.drawn):
        yield without_rows, []


class PendingItems(Iterator[I]):
    """An iterator that keeps each item it has given until `oldest` takes it, also from another thread."""

    def __init__(self, items: Iterable[I]):
        self.drawn: deque[I] = deque()
        self._items = iter(items)

    def __next__(self) -> I:
        item = next(self._items)
        self.drawn.append(item)
        return item

    def oldest(self) -> I:
        """Remove and return the item that was drawn first."""
        return self.drawn.popleft()


def missing_units(job: Job, units: Iterable[Unit[I]], record: type) -> Iterator[Unit[I]]:
    """The units whose rows `map_rows` would compute. The chunks are read when this is called, the units later."""
    known = _known(job, record)[1]
    return (unit for unit in units if not known.has(unit))


def imagine_rows(job: Job, units: Iterable[Unit[I]], stand_ins: Callable[[I], Sequence[R]], record: type[R]) -> None:
    """Write the job's table as `map_rows` would, with stand-ins for the rows that it would compute."""
    chunks, known = _known(job, record)
    schema = schema_of(record)
    with pq.ParquetWriter(job.path / f"{table_name(record)}.parquet", schema) as writer:
        for is_known, run in groupby(units, key=known.has):
            if is_known:
                for table in chunks.collect(known.places[unit.key] for unit in run):
                    writer.write_table(table.cast(schema))
            else:
                writer.write_table(to_table([row for unit in run for row in stand_ins(unit.item)], record))


def _known(job: Job, record: type) -> tuple[RowChunks, Known]:
    folder = job.store.root / job.path.parent.name / "rows" / job.code[:24]
    chunks = RowChunks(folder, record, job.store, desk=job.path)
    return chunks, Known() if job.refresh else chunks.index()


def _open_status(rows: Sequence[Any]) -> str | None:
    statuses = {row.status for row in rows}
    return next((status for status in OPEN if status in statuses), None)
