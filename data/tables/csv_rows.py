"""Read the rows of a CSV file with a header, each with the number of its first line."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from hasse.data.errors import SourceError
from hasse.data.tables import text_files
from hasse.data.tables.repeated import first_repeated

ENDED = "unexpected end of data"
"""The error of Python's reader for a quote that is still open at the end of the file."""


def read(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(number of the first line, row). Lines without any cell are left out.

    Raises SourceError for a quote that never closes, and for a row with more or fewer cells than the header.
    """
    numbered = _cells(path)
    header_line, header = next(numbered, (1, []))
    if (twice := first_repeated(header)) is not None:
        raise SourceError("stands twice in the header; rename one of the two", file=path, row=header_line, field=twice)
    for line, cells in numbered:
        if len(cells) != len(header):
            raise SourceError(_wrong_number(len(cells), len(header)), file=path, row=line)
        yield line, dict(zip(header, cells, strict=True))


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, cells) of each row."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(text_files.lines(path), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise SourceError(_broken(str(error)), file=path, row=begins) from error
        if cells is None:
            return
        if cells:
            yield begins, cells


def _broken(problem: str) -> str:
    reason = "a quote is opened and never closed" if problem == ENDED else problem
    return (
        f"cannot be read as csv: in the row that begins on this line, {reason}. A quote inside a quoted cell is doubled"
    )


def _wrong_number(found: int, expected: int) -> str:
    more_or_fewer = "more" if found > expected else "fewer"
    return f"has {more_or_fewer} cells than the header's {expected}: {found}. Quote a cell with a comma or a line break"
