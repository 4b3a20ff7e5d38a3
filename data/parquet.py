"""Write records as Parquet, and read them back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from hasse.data.errors import CorruptFile
from hasse.data.schema import conform, schema_of, without_none

NOT_IN_KEYS = "it stores what a stage computes; a change that alters results raises the stage's version"

R = TypeVar("R")

WRITE_OPTIONS = {"compression": "zstd", "compression_level": 3}


def to_table(rows: Sequence[R], record: type[R]) -> pa.Table:
    """Make an Arrow table, in the record's schema, of the rows."""
    schema = schema_of(record)
    columns = []
    for field in schema:
        plain, values = _codecs(record)[field.name].plain, map(attrgetter(field.name), rows)
        columns.append(pa.array(list(values) if plain is None else _each(plain, values), type=field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def from_table(table: pa.Table, record: type[R]) -> Iterator[R]:
    """The rows of a table as records. A column that the table lacks gets the field's default."""
    codecs = _codecs(record)
    names = [name for name in table.column_names if name in codecs]
    for batch in table.to_batches(max_chunksize=8192):
        columns = []
        for name in names:
            build, values = codecs[name].build, batch.column(name).to_pylist()
            columns.append(values if build is None else _each(build, values))
        for values in zip(*columns, strict=True):
            yield record(**dict(zip(names, values, strict=True)))


def write_records(path: Path, rows: Iterable[R], record: type[R], *, rows_per_group: int = 20_000) -> int:
    """Write the rows, group by group, so that memory stays flat. Returns their number."""
    count = 0
    with pq.ParquetWriter(path, schema_of(record), **WRITE_OPTIONS) as writer:
        for group in batched(rows, rows_per_group):
            writer.write_table(to_table(group, record))
            count += len(group)
    return count


def total_length(path: Path, column: str) -> int:
    """The total length of the lists in a column."""
    return sum(len(chunk.flatten()) for chunk in read_table(path, columns=[column]).column(column).chunks)


def read_table(path: Path, *, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file as a table. Raises CorruptFile when it is truncated or not Parquet."""
    try:
        return pq.ParquetFile(path).read(columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"{path} cannot be read as Parquet: {error}") from error


def read_records(path: Path, record: type[R], *, columns: list[str] | None = None) -> Iterator[R]:
    """Stream the rows of a file as records, group by group. Raises SchemaError and CorruptFile."""
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
    """Split items into lists of at most `size`."""
    batch: list[R] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class _Codec:
    """Converts the values of a field for Arrow (`plain`) and back (`build`); None leaves them as they are."""

    plain: Callable[[Any], Any] | None = None
    build: Callable[[Any], Any] | None = None


@cache
def _codecs(record: type) -> dict[str, _Codec]:
    """Field name -> its conversions."""
    hints = get_type_hints(record)
    return {field.name: _codec(hints[field.name]) for field in fields(record)}


def _codec(hint: Any) -> _Codec:
    hint, _ = without_none(hint)
    arguments = get_args(hint)
    if arguments[1:] == (...,):
        item = _codec(arguments[0])
        return _Codec(
            plain=partial(_each, item.plain) if item.plain else None,
            build=partial(_tuple, item.build) if item.build else tuple,
        )
    if is_dataclass(hint):
        return _Codec(plain=partial(_plain_struct, _codecs(hint)), build=partial(_build_struct, hint, _codecs(hint)))
    return _Codec()


def _plain_struct(codecs: Mapping[str, _Codec], value: Any) -> dict[str, Any]:
    return {name: _converted(codec.plain, getattr(value, name)) for name, codec in codecs.items()}


def _build_struct(record: Any, codecs: Mapping[str, _Codec], value: Mapping[str, Any]) -> Any:
    return record(**{name: _converted(codecs[name].build, part) for name, part in value.items() if name in codecs})


def _each(convert: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    return [None if value is None else convert(value) for value in values]


def _tuple(convert: Callable[[Any], Any], values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(_each(convert, values))


def _converted(convert: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if convert is None or value is None else convert(value)
