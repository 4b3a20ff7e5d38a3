"""Where an artifact comes from: its run, the run's recipe, and the results of its arm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hasse.data.errors import InputError
from hasse.flows.run.records import find_run, read_runs
from hasse.pipeline.store import Artifact, Store

STUDENT = "student"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the records of runs tell of an artifact.

    recipe: all its values. results: the rows of the report for the artifact's arm and for the student; none if the run
    made no report. read: how the report read the answers.
    """

    run_id: str
    recipe: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...] = ()
    read: str = ""


def origin_of(store: Store, artifact: Artifact, *, run: str | None = None) -> Origin:
    """The origin by the run with this name, or by the newest run that used the artifact. Raises InputError without one.

    A run with a report is preferred to a newer one without.
    """
    runs = [find_run(store, run)] if run else read_runs(store)[::-1]
    origins = [_origin(store, record, artifact.ref) for record in runs if _labels(record, artifact.ref) is not None]
    if not origins:
        raise InputError(f"no run of {store} has {artifact.ref}, so its recipe is unknown; run the recipe again")
    return next((origin for origin in origins if origin.results), origins[0])


def _origin(store: Store, record: dict[str, Any], ref: str) -> Origin:
    labels = _labels(record, ref) or {}
    report = next((store.find(*step["ref"].split("/")) for step in record["steps"] if step["step"] == "report"), None)
    metrics = report.manifest.metrics if report else {}
    arms = (labels.get("arm"), STUDENT)
    rows = tuple(row for row in metrics.get("results", ()) if "arm" in labels and row["arm"] in arms)
    return Origin(run_id=record["run_id"], recipe=record["recipe"], results=rows, read=metrics.get("read", ""))


def _labels(record: dict[str, Any], ref: str) -> dict[str, Any] | None:
    """The labels of the step of this run that has the artifact, or None."""
    return next((step["labels"] for step in record["steps"] if step["ref"] == ref), None)
