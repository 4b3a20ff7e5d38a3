"""A run as its record tells, and each of its finished steps with the tables, counts and metrics of the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasse.data.errors import InputError
from hasse.data.parquet import read_table
from hasse.data.settings.registry import unknown
from hasse.flows.library.sql import select_from_steps
from hasse.flows.run.query import table_files
from hasse.flows.run.records import DONE, status_of
from hasse.pipeline.manifest import Labels
from hasse.pipeline.store import MANIFEST, Artifact, Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class RecordedStep:
    """One finished step of a run: `judge`, or `train/rescue/seed-0`."""

    name: str
    ref: str
    """The reference of its artifact, `stage/fingerprint`."""
    labels: Labels
    """What tells the step from others of its stage, such as {"arm": "rescue", "seed": 0}."""
    cached: bool
    """Whether the run found the artifact in the store."""
    seconds: float
    """The time that the step took in its run."""
    store: Store = field(repr=False)

    @property
    def stage(self) -> str:
        return self.ref.partition("/")[0]

    @cached_property
    def artifact(self) -> Artifact:
        """Raises InputError when the artifact was deleted after the run."""
        artifact = self.store.artifact(self.ref)
        if not (artifact.path / MANIFEST).is_file():
            raise InputError(
                f"{self.ref}, the artifact of step {self.name}, is no longer in {self.store}; run the recipe again"
            )
        return artifact.standing_for(self.name, self.labels)

    @property
    def path(self) -> Path:
        """The artifact's folder on this machine. For a store on s3:// it holds the files that were asked for so far."""
        return self.artifact.path

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Table -> status -> number of rows."""
        return self.artifact.manifest.counts

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics of the stage, by name."""
        return self.artifact.manifest.metrics

    @property
    def cost_usd(self) -> float:
        """The cost of the artifact at chat endpoints, in US dollars."""
        return self.artifact.manifest.cost_usd

    @property
    def tables(self) -> list[str]:
        """The names of its tables; the main one comes first."""
        return sorted(table_files(self.artifact))

    @property
    def main_table(self) -> str | None:
        """The only table, or the one with whose name all others begin (`judgement` before `judgement_by_gpt`)."""
        tables = self.tables
        return tables[0] if tables and all(name.startswith(tables[0]) for name in tables) else None

    def file(self, name: str) -> Path:
        """Give the path of a file or folder of the artifact, on this machine, checked against its digest.

        Raises InputError when there is none.
        """
        files = self.artifact.manifest.files
        folders = {name.rpartition("/")[0] for name in files if "/" in name}
        if name not in files and name not in folders:
            raise InputError(f"step {self.name}: {unknown(name, sorted({*files, *folders}), kind='file')}")
        return self.artifact.file(name)

    def table(self, name: str | None = None) -> pa.Table:
        """Read a table of the step; None reads the main table.

        Raises InputError for an unknown name, and for None where no table is the main one.
        """
        return read_table(self.table_file(name))

    def pandas(self, name: str | None = None) -> pd.DataFrame:
        """Read a table of the step as a DataFrame.

        Raises InputError as `table` does, and when pandas is not installed.
        """
        return as_pandas(self.table(name))

    def table_file(self, name: str | None = None) -> Path:
        """The Parquet file of a table, on this machine. Raises InputError as `table` does."""
        tables, name = self.tables, name or self.main_table
        if not tables:
            raise InputError(f"step {self.name} has no tables; its files: {', '.join(self.artifact.manifest.files)}")
        if name is None:
            raise InputError(f"step {self.name} has the tables {', '.join(tables)}; give the name of one")
        if name not in tables:
            raise InputError(f"step {self.name}: {unknown(name, tables, kind='table')}")
        return self.artifact.file(table_files(self.artifact)[name])


def as_pandas(table: pa.Table) -> pd.DataFrame:
    """Raises InputError when pandas is not installed, which hasse itself does not need."""
    try:
        return table.to_pandas()
    except ImportError as error:
        raise InputError(f"pandas is not installed ({error}); `pip install pandas`, or use `table`") from error


@dataclass(frozen=True)
class RecordedRun:
    """One run of a recipe. `record` is the content of the file store/runs/<id>.json."""

    record: Mapping[str, Any] = field(repr=False)
    store: Store = field(repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.record["run_id"])

    @property
    def recipe_name(self) -> str:
        return self.record["recipe"]["name"]

    @property
    def recipe(self) -> dict[str, Any]:
        """All settings that the run was computed with, as plain values."""
        return dict(self.record["recipe"])

    @property
    def started(self) -> datetime:
        """UTC."""
        return datetime.fromisoformat(self.record["started"])

    @property
    def status(self) -> str:
        """ "done", "running", "killed", or the error that stopped the run."""
        return status_of(self.store, dict(self.record))

    @property
    def is_done(self) -> bool:
        return self.status == DONE

    @cached_property
    def steps(self) -> list[RecordedStep]:
        """The finished steps, in the order of the plan."""
        return [
            RecordedStep(
                name=step["step"],
                ref=step["ref"],
                labels=step["labels"],
                cached=step["cached"],
                seconds=step["seconds"],
                store=self.store,
            )
            for step in self.record["steps"]
        ]

    def step(self, name: str) -> RecordedStep:
        """The finished step of that name. Raises InputError when the run has none."""
        steps = {step.name: step for step in self.steps}
        if name not in steps:
            said = unknown(name, list(steps), kind="step") if steps else f"unknown step {name!r}; no step is finished"
            raise InputError(f"run {self.id} ({self.status}): {said}")
        return steps[name]

    def table(self, step: str, *, name: str | None = None) -> pa.Table:
        """A table of a step; `name` says which, where the step has several without a main one.

        Raises InputError for an unknown step or table.
        """
        return self.step(step).table(name)

    def pandas(self, step: str, *, name: str | None = None) -> pd.DataFrame:
        """Read a table as `table` does, as a DataFrame. Raises InputError also when pandas is not installed."""
        return self.step(step).pandas(name)

    def sql(self, query: str) -> pa.Table:
        """The rows of a query over the run's tables, by DuckDB, which reads these tables and no files or network.

        A step's main table has the name of the step, and each of its tables the name `step/table`. Names with a slash
        are quoted: `select * from "train/rescue/seed-0/curve_point"`. The name of a stage without a step of that name
        stands for the tables of all its steps, with `step_name` and the labels as further columns:
        `select arm, count(*) from evaluate group by 1`, and `"train/curve_point"` likewise.
        Raises InputError when DuckDB refuses the query.
        """
        return select_from_steps(self.steps, query)

    @property
    def results(self) -> list[dict[str, Any]]:
        """The report's table: one row for each arm and way of decoding. Empty for a run without a report."""
        return self._of_report("results", [])

    @property
    def headline(self) -> str:
        """The report's conclusion, in sentences. Empty for a run without a report."""
        return self._of_report("conclusion", "")

    @property
    def report(self) -> Path:
        """The report's HTML page, on this machine. Raises InputError for a run without a report."""
        return self.step("report").file("report.html")

    def _of_report(self, metric: str, otherwise: Any) -> Any:
        reports = [step for step in self.steps if step.stage == "report"]
        return reports[-1].metrics[metric] if reports else otherwise
