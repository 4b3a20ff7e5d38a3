"""Read the rows of a Parquet file of any schema."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hasse.data.errors import SourceError
from hasse.data.tables.repeated import first_repeated

ROWS_PER_BATCH = 4096

CONVERSION_ERRORS = (pa.ArrowException, ValueError, OverflowError)
"""The errors that Arrow raises for a value that Python cannot hold, like a date in the year 10000."""


def read(path: Path, columns: Collection[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number from 1, row). Only `columns` are read, if given; the file's other columns are None in the row.

    Raises SourceError for a value that Python cannot hold.
    """
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    if (twice := first_repeated(names)) is not None:
        raise SourceError("is the name of two columns; rename one of the two", file=path, field=twice)
    wanted = [name for name in names if columns is None or name in columns]
    unread = dict.fromkeys(names)
    number = 0
    for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=wanted):
        for row in rows_of(batch, wanted, file=path, before=number):
            number += 1
            yield number, {**unread, **row}


def rows_of(
    batch: pa.RecordBatch | pa.Table, columns: Sequence[str], *, file: object, before: int
) -> Iterator[dict[str, Any]]:
    """The rows of a batch, with these columns. before: the number of rows before the batch, for error messages."""
    values = [_converted(batch.column(name), file, before, name) for name in columns]
    for i in range(batch.num_rows):
        yield {name: column[i] for name, column in zip(columns, values, strict=True)}


def _converted(column: pa.Array | pa.ChunkedArray, file: object, before: int, name: str) -> list[Any]:
    try:
        return column.to_pylist()
    except CONVERSION_ERRORS:
        return [_value(value, file, before + i, name) for i, value in enumerate(column, 1)]


def _value(value: pa.Scalar, file: object, number: int, name: str) -> Any:
    try:
        return value.as_py()
    except CONVERSION_ERRORS as error:
        raise SourceError(f"cannot be read: {error}", file=file, row=number, field=name) from error
