"""One SQL query over the tables of all steps of a run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow.parquet as pq

from hasse.flows.run.query import select
from hasse.pipeline.manifest import Labels

if TYPE_CHECKING:
    import pyarrow as pa


class StepTables(Protocol):
    """The part of a recorded step that a query uses."""

    @property
    def name(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def tables(self) -> list[str]: ...
    @property
    def main_table(self) -> str | None: ...
    def table_file(self, name: str) -> Path: ...


def select_from_steps(steps: Sequence[StepTables], query: str) -> pa.Table:
    """The rows of the query. Raises InputError when DuckDB refuses it.

    Only tables that the query names are opened, so that nothing else is fetched from an object store.
    """
    single, together = _step_tables(steps), _stage_tables(steps)
    views = {name: parts for name, parts in together.items() if name not in single and _is_named(name, query)}
    wanted = {name for name in single if _is_named(name, query)} | {part for parts in views.values() for part in parts}
    files = {name: step.table_file(table) for name, (step, table) in single.items() if name in wanted}
    return select(
        files,
        query,
        views={name: _union({part: single[part][0] for part in parts}, files) for name, parts in views.items()},
        known=[*single, *(name for name in together if name not in single)],
    )


def _step_tables(steps: Sequence[StepTables]) -> dict[str, tuple[StepTables, str]]:
    """Name in SQL -> the step and its table."""
    named = {f"{step.name}/{table}": (step, table) for step in steps for table in step.tables}
    return named | {step.name: (step, step.main_table) for step in steps if step.main_table}


def _stage_tables(steps: Sequence[StepTables]) -> dict[str, list[str]]:
    """Stage, or `stage/table` -> the names in SQL of the tables of its steps."""
    named: dict[str, list[str]] = defaultdict(list)
    for step in steps:
        for table in step.tables:
            named[f"{step.stage}/{table}"].append(f"{step.name}/{table}")
        if step.main_table:
            named[step.stage].append(step.name)
    return named


def _is_named(name: str, query: str) -> bool:
    """Whether the query holds the name, and not only as a part of a longer one."""
    return re.search(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", query, re.IGNORECASE) is not None


def _union(steps: Mapping[str, StepTables], files: Mapping[str, Path]) -> str:
    """SQL for all rows of these tables, each with the name and the labels of its step."""
    return " union all by name ".join(
        f"select {', '.join(_label_columns(step, files[name]))}, * from {_quoted(name)}" for name, step in steps.items()
    )


def _label_columns(step: StepTables, file: Path) -> Iterator[str]:
    """A label that is also a column of the table is left to the column."""
    columns = pq.read_schema(file).names
    for label, value in {"step_name": step.name, **step.labels}.items():
        if label not in columns:
            yield f"{value if isinstance(value, int) else _text(value)} as {_quoted(label)}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
