"""Stream the rows of JSONL, CSV and Parquet files, with the row numbers that an editor shows."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hasse.data.errors import SourceError
from hasse.data.tables import csv_rows, json_rows, parquet_rows
from hasse.data.tables.text_files import COMPRESSED, READ_ERRORS

Row = dict[str, Any]


SUFFIXES = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def find_files(pattern: str | list[str], *, suffix: str | None = None) -> list[Path]:
    """The files of a path, a glob pattern, a folder, or a list of these; the files of each are sorted by name.

    A folder gives its files with that suffix, or with any known suffix, compressed or not. Hidden files are left out,
    since files that are still being written often have hidden names. Raises SourceError for an item without files.
    """
    found: list[Path] = []
    for item in [pattern] if isinstance(pattern, str) else pattern:
        files = _files_of(item, suffix)
        if not files:
            raise SourceError(_without_files(item, suffix), file=item)
        found += files
    if not found:
        raise SourceError("the list of paths is empty; name a file, a folder or a glob pattern", field="path")
    return list(dict.fromkeys(found))


def kind_of(path: Path) -> str:
    """jsonl, csv or parquet, by the suffix of the file. Raises SourceError for any other suffix."""
    suffix = _table_suffix(path)
    if suffix not in SUFFIXES:
        known = f"{', '.join(SUFFIXES)}, and before {', '.join(COMPRESSED)} all of these but .parquet"
        raise SourceError(f"has the suffix {path.suffix!r}; known are {known}", file=path)
    return SUFFIXES[suffix]


def read_rows(
    path: Path, kind: str | None = None, *, columns: Collection[str] | None = None
) -> Iterator[tuple[int, Row]]:
    """(row number, row). The number is the line in JSONL, the row's first line in CSV, and the row in Parquet, from 1.

    kind: jsonl, csv or parquet; None: by the suffix of the file. columns: the columns that the caller reads; Parquet
    converts no others. Raises SourceError that names file and row.
    """
    kind = kind or kind_of(path)
    try:
        yield from parquet_rows.read(path, columns) if kind == "parquet" else _TEXT_READERS[kind](path)
    except READ_ERRORS as error:
        raise SourceError(f"cannot be read as {kind}: {error}", file=path) from error


_TEXT_READERS = {"jsonl": json_rows.read, "csv": csv_rows.read}


def _files_of(item: str, suffix: str | None) -> list[Path]:
    try:
        path = Path(item).expanduser()
        if path.is_dir():
            return _tables_in(path, {suffix} if suffix else set(SUFFIXES))
        return [path] if path.is_file() else _globbed(path)
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise SourceError(
            f"is neither a file nor a folder nor a glob pattern that can be read: {error}", file=item
        ) from error


def _tables_in(folder: Path, suffixes: set[str]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if _table_suffix(p) in suffixes and p.name[0] != "." and p.is_file())


def _table_suffix(path: Path) -> str:
    """The suffix of the file; for a compressed text file, the suffix before the last one."""
    if path.suffix.lower() in COMPRESSED and Path(path.stem).suffix.lower() != ".parquet":
        return Path(path.stem).suffix.lower()
    return path.suffix.lower()


def _globbed(path: Path) -> list[Path]:
    found = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
    return sorted(p for p in found if p.is_file() and (p.name[0] != "." or p.name == path.name))


def _without_files(item: str, suffix: str | None) -> str:
    path = Path(item).expanduser()
    if path.is_dir():
        return f"this folder holds no file *{suffix or ', *'.join(SUFFIXES)}"
    return f"there is no such file (looked from {Path.cwd().name}/)"


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write plain rows as a Parquet file; its columns are the keys of the rows."""
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
