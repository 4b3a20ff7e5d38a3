"""Records on disk that are read by number, so that memory does not grow with their number."""

from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa

from hasse.data.parquet import batched, from_table, to_table
from hasse.data.schema import schema_of

R = TypeVar("R")

ROWS_PER_BATCH = 512


class MappedRecords(Sequence[R], Generic[R]):
    """The records of an Arrow file that is mapped into memory. Only the rows that are read are decoded."""

    def __init__(self, path: Path, record: type[R]):
        self.file = pa.ipc.open_file(pa.memory_map(str(path)))
        self.record = record
        self.length = sum(self.file.get_batch(i).num_rows for i in range(self.file.num_record_batches))

    @staticmethod
    def write(path: Path, rows: Iterable[R], record: type[R]) -> "MappedRecords[R]":
        """Stream the rows into a new file, and open it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema_of(record)) as writer:
            for group in batched(rows, ROWS_PER_BATCH):
                writer.write_table(to_table(group, record).combine_chunks(), max_chunksize=ROWS_PER_BATCH)
        return MappedRecords(path, record)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(f"row {index} of {self.length}")
        batch = self.file.get_batch(index // ROWS_PER_BATCH).slice(index % ROWS_PER_BATCH, 1)
        return next(from_table(pa.Table.from_batches([batch]), self.record))

    def selected(self, numbers: Container[int]) -> Iterator[tuple[int, R]]:
        """(number, row) of the rows with these numbers, in the order of the file."""
        begin = 0
        for i in range(self.file.num_record_batches):
            batch = self.file.get_batch(i)
            chosen = [k for k in range(batch.num_rows) if begin + k in numbers]
            rows = from_table(pa.Table.from_batches([batch.take(pa.array(chosen, pa.int64()))]), self.record)
            yield from zip((begin + k for k in chosen), rows, strict=True)
            begin += batch.num_rows

    def __iter__(self) -> Iterator[R]:
        for i in range(self.file.num_record_batches):
            yield from from_table(pa.Table.from_batches([self.file.get_batch(i)]), self.record)
