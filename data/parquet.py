"""Records to Parquet and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import CorruptFile
from data.schema import _without_none, conform, schema_of

R = TypeVar("R")

WRITE_OPTIONS = {"compression": "zstd", "compression_level": 3}


def to_table(rows: Sequence[R], record: type[R]) -> pa.Table:
    """The rows as an Arrow table of the record's schema."""
    schema = schema_of(record)
    columns = []
    for field in schema:
        values, plain = map(attrgetter(field.name), rows), _plains(record)[field.name]
        found = list(values if plain is None else (None if value is None else plain(value) for value in values))
        columns.append(pa.array(found, type=field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def from_table(table: pa.Table, record: type[R]) -> Iterator[R]:
    """The table's rows as records; a column the table lacks takes the field's default."""
    names = [name for name in table.column_names if name in _builders(record)]
    builders = [_builders(record)[name] for name in names]
    for batch in table.to_batches(max_chunksize=8192):
        columns = [
            values if build is None else [None if v is None else build(v) for v in values]
            for build, values in zip(builders, (batch.column(n).to_pylist() for n in names), strict=True)
        ]
        for values in zip(*columns, strict=True):
            yield record(**dict(zip(names, values, strict=True)))


def write_records(path: Path, rows: Iterable[R], record: type[R], *, rows_per_group: int = 20_000) -> int:
    """Write the rows, group by group so that memory stays flat; gives their number."""
    count = 0
    with pq.ParquetWriter(path, schema_of(record), **WRITE_OPTIONS) as writer:
        for group in batched(rows, rows_per_group):
            writer.write_table(to_table(group, record))
            count += len(group)
    return count


def total_length(path: Path, column: str) -> int:
    """How many items the lists of a column hold in all."""
    return sum(len(chunk.flatten()) for chunk in read_table(path, columns=[column]).column(column).chunks)


def read_table(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file as a table. Raises CorruptFile when it is truncated or not Parquet."""
    try:
        return pq.ParquetFile(path).read(columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"{path} cannot be read as Parquet: {error}") from error


def read_records(path: Path, record: type[R], *, columns: list[str] | None = None) -> Iterator[R]:
    """The file's rows, streamed group by group. Raises SchemaError, CorruptFile."""
    try:
        file = pq.ParquetFile(path)
        current = file.schema_arrow.equals(schema_of(record), check_metadata=True)
        if not current:
            conform(file.schema_arrow.empty_table(), record, where=str(path))
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns if current else None)
            if not current:
                table = conform(table, record, where=str(path))
            yield from from_table(table, record)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"{path} cannot be read as Parquet: {error}") from error


def batched(items: Iterable[R], size: int) -> Iterator[list[R]]:
    """Lists of at most `size` items."""
    batch: list[R] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@cache
def _plains(record: type) -> dict[str, Any]:
    """Field name -> function from the field's value to what Arrow takes, or None where they are the same."""
    hints = get_type_hints(record)
    return {field.name: _plain(hints[field.name]) for field in fields(record)}


def _plain(hint: Any) -> Any:
    hint, _ = _without_none(hint)
    arguments = get_args(hint)
    if arguments[1:] == (...,):
        inner = _plain(arguments[0])
        return None if inner is None else lambda values: [inner(value) for value in values]
    return partial(_struct, _plains(hint)) if is_dataclass(hint) else None


def _struct(plains: Mapping[str, Any], value: Any) -> dict[str, Any]:
    found = {}
    for name, plain in plains.items():
        part = getattr(value, name)
        found[name] = part if part is None or plain is None else plain(part)
    return found


@cache
def _builders(record: type) -> dict[str, Any]:
    """Field name -> function from Arrow's Python value to the field's, or None where they are the same."""
    hints = get_type_hints(record)
    return {field.name: _builder(hints[field.name]) for field in fields(record)}


def _builder(hint: Any) -> Any:
    hint, _ = _without_none(hint)
    arguments = get_args(hint)
    if arguments[1:] == (...,):
        inner = _builder(arguments[0])
        return tuple if inner is None else lambda values: tuple(inner(v) for v in values)
    return partial(_nested, hint, _builders(hint)) if is_dataclass(hint) else None


def _nested(record: Any, builders: Mapping[str, Any], value: dict[str, Any]) -> Any:
    found = {}
    for name, part in value.items():
        if name in builders:
            build = builders[name]
            found[name] = part if part is None or build is None else build(part)
    return record(**found)
