"""Map stages, row by row: results are kept under the key of their input row, in append-only chunks.

A rerun, a resume after `kill -9`, and tonight's run with 50 more prompts all compute exactly the missing rows.
The chunks of a stage lie in store/<stage>/rows/<code digest>/.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
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


def map_rows(
    job: Job,
    units: Iterable[Unit[I]],
    compute: Callable[[Any], Iterable[Sequence[R]]],
    record: type[R],
    *,
    total: int,
    chunk_size: int,
    ahead: int = 0,
    gpus: int = 0,
    stream: bool = False,
) -> None:
    """Write the job's table of `record`: known rows from the chunks, missing ones by `compute`, in the units' order.

    For units that are not all computed alike there is `Mapped`, whose `add` has the same arguments.
    """
    mapped = Mapped(job, record, total=total)
    mapped.write(mapped.add(units, compute, chunk_size=chunk_size, ahead=ahead, gpus=gpus, stream=stream))


class Mapped(Generic[R]):
    """The rows of `total` units, part after part. Units are streamed, only keys are held."""

    def __init__(self, job: Job, record: type[R], *, total: int):
        self.job, self.record, self.total = job, record, total
        self.chunks, self.known = _known(job, record)
        self.unfinished = Counter[str]()
        self.seen = self.drawn = self.computed = 0  # units: looked at, found missing, and computed

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
        """Compute the missing rows of these units; gives their keys.

        `compute` takes at most `chunk_size` inputs and yields one non-empty sequence of rows for each, in their order.
        The job's executor says where that happens. `gpus`: of a worker elsewhere. `ahead`: so many chunks more are
        computed while one is written; `compute` is then called from several threads.
        `stream`: in this process, whatever the executor, and all of it in one call, for work that waits for others and
        has limits of its own: `compute` takes an iterator over all inputs, and may draw from it in another thread.
        """
        job, keys = self.job, []
        todo = self._missing(units, keys)
        if stream:
            done = _streamed(todo, compute, chunk_size)
        else:
            executor = registry.load(EXECUTORS, job.executor.executor, kind="executor")
            work = Computation(compute=compute, ahead=ahead, gpus=gpus)
            done = executor.computed(batched(todo, chunk_size), work, job.executor)
        self._report()
        for part, rows in done:
            job.conserve("units of a chunk", expected=len(part), found=len(rows))
            with disk_errors(job.store.root):
                self.known.places |= self.chunks.append(part, rows)
            self.computed += len(part)
            self.unfinished.update(filter(None, map(_open_status, rows)))
            self._report()
        return keys

    def write(self, keys: Sequence[str]) -> None:
        """The job's table: the rows of these units, in this order. Raises WorkError where they are not `total`.

        The job's metrics tell how many units were found and how many computed, and `units_open`, by status, those whose
        rows are to be computed again.
        """
        job = self.job
        job.conserve("units", expected=self.total, found=len(keys))
        found = self.total - self.computed
        job.metrics |= {"units": self.total, "units_found": found, "units_computed": self.computed}
        job.metrics |= {"units_open": dict(sorted(self.unfinished.items()))} if self.unfinished else {}
        _assemble(job, self.chunks, [self.known.places[key] for key in keys], self.record)

    def _missing(self, units: Iterable[Unit[I]], keys: list[str]) -> Iterator[Unit[I]]:
        """The units without rows; the key of every unit is noted in `keys`."""
        for unit in units:
            keys.append(unit.key)
            self.seen += 1
            if not self.known.has(unit):
                self.drawn += 1
                yield unit

    def _report(self) -> None:
        self.job.progress(self.seen - self.drawn + self.computed, self.total)


def _streamed(
    units: Iterable[Unit[I]], compute: Callable[[Any], Iterable[Sequence[R]]], size: int
) -> Iterator[tuple[list[Unit[I]], list[Sequence[R]]]]:
    drawn = Remembered(units)
    for rows in batched(compute(unit.item for unit in drawn), size):
        yield [drawn.oldest() for _ in rows], rows
    if left := list(drawn.given):
        yield left, []


class Remembered(Iterator[I]):
    """Gives items to one thread, and the same to another that asks for the oldest."""

    def __init__(self, items: Iterable[I]):
        self.given: deque[I] = deque()
        self._items = iter(items)

    def __next__(self) -> I:
        item = next(self._items)
        self.given.append(item)
        return item

    def oldest(self) -> I:
        return self.given.popleft()


def missing(job: Job, units: Iterable[Unit[I]], record: type) -> Iterator[Unit[I]]:
    """The units that `map_rows` would compute; what is known is seen now."""
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
    found = {row.status for row in rows}
    return next((status for status in OPEN if status in found), None)


def _assemble(job: Job, chunks: RowChunks, places: list[RowRange], record: type) -> None:
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
