"""Records of runs: store/runs/<run_id>.json, one file a run, rewritten after each of its steps.

A record holds a digest of itself. A record that cannot be read is shown as broken by `hasse ls --runs` and `hasse
verify`. Every other command ignores that run.
"""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hasse.data.errors import CorruptFile, InputError
from hasse.pipeline.files import is_held, write_atomically
from hasse.pipeline.sealed import read_sealed, seal
from hasse.pipeline.store import Store

RUNS, ENDING = "runs", ".json"
RUNNING, DONE, KILLED = "running", "done", "killed"
NUM_SHOWN = 10
"""The number of runs that a message lists."""
NAMED_BY = ("flow_run", "flow_run_name")
"""Fields of a record's `how` that also identify a run of Prefect."""


class _Recipe(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class _Step(BaseModel):
    model_config = ConfigDict(extra="allow")
    step: str
    ref: str = Field(pattern=r"^[^/]+/[^/]+$")
    cached: bool
    seconds: float
    labels: dict[str, Any] = {}


class _Record(BaseModel):
    """The form of a record. Records of earlier versions lack `how`, `host`, `working` and `format`."""

    model_config = ConfigDict(extra="allow")
    run_id: str
    recipe: _Recipe
    started: str
    status: str
    how: dict[str, Any] = {}
    host: str | None = None
    working: list[str] = []
    steps: list[_Step]
    format: int = 1


def record_path(store: Store, run_id: str) -> Path:
    return store.root / RUNS / f"{run_id}.json"


def write_record(store: Store, record: dict[str, Any]) -> None:
    path = record_path(store, record["run_id"])
    write_atomically(path, seal(record))
    store.share(path)


def read_record(path: Path) -> dict[str, Any]:
    """Read one record of a run. Raises CorruptFile."""
    values = read_sealed(path, kind="record of a run")
    try:
        found = _Record.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise CorruptFile(f"{path} is not a record of a run: {field}: {first['msg']}") from error
    if found.run_id != path.stem:
        raise CorruptFile(f"{path} is the record of another run, {found.run_id}; was the file renamed?")
    return found.model_dump()


def record_files(store: Store) -> list[str]:
    """Paths of all records of runs, including broken records."""
    folder = store.root / RUNS
    store.gather(folder, f"*{ENDING}")
    try:
        names = os.listdir(folder)  # noqa: PTH208  faster for thousands of files
    except OSError:  # no run has been recorded
        return []
    return [f"{folder}/{name}" for name in sorted(names) if name.endswith(ENDING) and name[0] != "."]


def read_runs(store: Store) -> list[dict[str, Any]]:
    """All runs whose records can be read, oldest first."""
    return all_records(store)[0]


def all_records(store: Store) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The runs whose records can be read, oldest first; and run id -> problem for the other records."""
    runs, broken = [], {}
    for path in map(Path, record_files(store)):
        try:
            runs.append(read_record(path))
        except CorruptFile as error:
            broken[path.stem] = str(error)
    return sorted(runs, key=lambda run: run["started"]), broken


def find_run(store: Store, name: str) -> dict[str, Any]:
    """The run with this id, with an id that begins so, or the newest run of the Prefect flow run with this id or name.

    Raises InputError if no run fits, or several, and CorruptFile if the record of the run cannot be read.
    """
    if not name.strip():
        raise InputError("the name of the run is empty; give an id, or the beginning of one")
    runs, broken = all_records(store)
    by_flow = [run for run in runs if name in [run.get("how", {}).get(key) for key in NAMED_BY]]
    exact = [run for run in runs if run["run_id"] == name] or by_flow[-1:]
    found = exact or [run for run in runs if run["run_id"].startswith(name)]
    unread = [] if exact and name not in broken else [run_id for run_id in broken if run_id.startswith(name)]
    if len(found) + len(unread) > 1:
        ids = [*(run["run_id"] for run in found), *unread]
        shown = ", ".join(ids[-NUM_SHOWN:])
        raise InputError(f"{name!r} fits {len(ids)} runs{', the last of them' * (len(ids) > NUM_SHOWN)}: {shown}")
    if unread:
        raise CorruptFile(f"{broken[unread[0]]}; restore the file, or run the recipe again: finished steps are kept")
    if not found:
        raise InputError(f"no run {name!r} in {store}; {_elsewhere(broken)}")
    return found[0]


def status_of(store: Store, run: dict[str, Any]) -> str:
    """The status of a recorded run. It is "killed" if the run's process, on this machine, no longer exists."""
    if run["status"] != RUNNING or run["host"] != platform.node():
        return run["status"]
    return RUNNING if is_held(lock_of(store, run["run_id"])) else KILLED


def gate_of(store: Store) -> Path:
    """The lock that `prune` holds while it deletes, and that a run shares while it records its next step."""
    return store.root / ".locks" / "prune"


def lock_of(store: Store, run_id: str) -> Path:
    """The lock that a run holds as long as its process lives."""
    return store.root / ".locks" / f"run-{run_id}"


def _elsewhere(broken: Mapping[str, str]) -> str:
    known = "`hasse ls --runs` lists the runs"
    return f"{known}; {len(broken)} of their records cannot be read" if broken else known
