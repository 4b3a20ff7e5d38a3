"""Read the rows of a JSON Lines file: one object a line, in which no name is given twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasse.data.errors import SourceError
from hasse.data.tables import text_files
from hasse.data.tables.repeated import first_repeated


class RepeatedKey(ValueError):
    """An object gives the same name twice, so that one of the two values would be lost."""

    def __init__(self, name: str):
        super().__init__(f"an object gives the name {name!r} twice")
        self.name = name


def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row). Blank lines are left out. Raises SourceError."""
    for number, line in enumerate(text_files.lines(path), 1):
        if line.strip():
            yield number, _row(path, number, line)


def parse_json(text: str) -> Any:
    """Parse a JSON value. Raises ValueError, also for a repeated key and for a value that is nested too deeply."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except RepeatedKey as error:
        problem = "is given twice in one object; keep one of the two"
        raise SourceError(problem, file=path, row=number, field=error.name) from error
    except ValueError as error:
        raise SourceError(f"is not JSON: {error}{_array(number, line)}", file=path, row=number) from error
    if not isinstance(row, dict):
        problem = f"must be an object, found {type(row).__name__}{_array(number, line)}"
        raise SourceError(problem, file=path, row=number)
    return row


def _array(number: int, line: str) -> str:
    return ". The file is one JSON array; write one object a line" if number == 1 and line.lstrip()[:1] == "[" else ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and (twice := first_repeated(name for name, _ in pairs)) is not None:
        raise RepeatedKey(twice)
    return found
