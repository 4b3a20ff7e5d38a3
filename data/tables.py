"""Rows of JSONL, CSV and Parquet files, streamed, with the number under which an editor shows them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import SourceError

Row = dict[str, Any]

SUFFIXES = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def find_files(pattern: str | list[str], *, suffix: str | None = None) -> list[Path]:
    """The files of a path, a glob pattern, a folder, or a list of these, each sorted by name.

    A folder gives its files of that suffix, or of any known one; hidden files are left alone, since a file that is
    still being written is often called so. Raises SourceError when one of them gives none.
    """
    found: list[Path] = []
    for item in [pattern] if isinstance(pattern, str) else pattern:
        path = Path(item).expanduser()
        files = _tables_in(path, {suffix} if suffix else set(SUFFIXES)) if path.is_dir() else _globbed(path)
        if not files:
            raise SourceError(_none(path, suffix), file=item)
        found += files
    return list(dict.fromkeys(found))


def _tables_in(folder: Path, suffixes: set[str]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.name[0] != "." and p.is_file())


def _globbed(path: Path) -> list[Path]:
    found = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
    return sorted(p for p in found if p.is_file() and (p.name[0] != "." or p.name == path.name))


def _none(path: Path, suffix: str | None) -> str:
    if path.is_dir():
        return f"this folder holds no file *{suffix or ', *'.join(SUFFIXES)}"
    return f"there is no such file (looked from {Path.cwd().name}/)"


def read_rows(path: Path, kind: str | None = None) -> Iterator[tuple[int, Row]]:
    """(row number, row): lines from 1 in JSONL, lines after the header in CSV, rows from 1 in Parquet.

    `kind`: jsonl, csv or parquet; None goes by the suffix. Raises SourceError that names file and row.
    """
    kind = kind or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise SourceError(f"has the suffix {path.suffix!r}; known are {', '.join(SUFFIXES)}", file=path)
    try:
        yield from _READERS[kind](path)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"cannot be read as {kind}: {error}", file=path) from error


def _read_jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _json_row(path, number, line)


def _json_row(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SourceError(f"is not JSON: {error}", file=path, row=number) from error
    if not isinstance(row, dict):
        raise SourceError(f"must be an object, found {type(row).__name__}", file=path, row=number)
    return row


def _read_csv(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="")
        for row in reader:
            if "" in row:
                raise SourceError(
                    f"has more cells than the header's {len(reader.fieldnames or [])}", file=path, row=reader.line_num
                )
            yield reader.line_num, dict(row)


def _read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    number = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            number += 1
            yield number, row


_READERS = {"jsonl": _read_jsonl, "csv": _read_csv, "parquet": _read_parquet}


def write_rows(path: Path, rows: list[Row]) -> None:
    """Plain rows as a Parquet file whose columns are those of the rows."""
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
