"""Rows of plain values as a table on the terminal. This module imports little, so that listing commands are quick."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False, soft_wrap=False)

MAX_CELL = 80
MANY_ROWS = 500
"""Longer lists are printed as plain columns, since the layout of a table takes seconds for thousands of rows."""


def show_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows as a table. Long cells are cut."""
    if not rows:
        console.print("nothing")
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if len(rows) > MANY_ROWS:
        _print_plainly(columns, rows)
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if _numeric(rows, column) else "left")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    wide = console if console.is_terminal else Console(file=sys.stdout, width=200, highlight=False)
    wide.print(table)


def _print_plainly(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows as lines with aligned columns."""
    lines = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    print("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines))


def _numeric(rows: Sequence[dict[str, Any]], column: str) -> bool:
    return all(isinstance(row.get(column), (int, float)) and not isinstance(row.get(column), bool) for row in rows)


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.replace("\n", "⏎")
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def as_yaml(values: dict[str, Any]) -> str:
    """Nested values as YAML, for values that do not fit into a table."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120).rstrip()
