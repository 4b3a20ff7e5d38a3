"""Finds what can be deleted from a store: artifacts that no recent run used, abandoned work, row chunks of old code.

Always kept are the artifacts from which nights continue, and everything that a running, killed or failed run has used,
until the same recipe has run to its end. If a record cannot be read, nothing is deleted, since the record may name any
artifact.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import PurePosixPath

from hasse.data.parquet import batched
from hasse.flows.run.history import read_histories
from hasse.flows.run.listing import artifact_summaries, rows_names, run_summaries
from hasse.flows.run.records import DONE, RUNNING, gate_of, status_of
from hasse.pipeline.files import locked
from hasse.pipeline.index import BROKEN, Summary
from hasse.pipeline.sealed import SEALED_SINCE
from hasse.pipeline.store import WORK, Store

RUN_ID = re.compile(r"(?P<recipe>.+)-(?P<day>\d{8})-(?P<time>\d{6})-[0-9a-f]{4}")

BATCH = 50
"""The number of folders that are deleted at a time. Meanwhile runs wait before their next step."""


def prunable(store: Store, *, keep_runs: int, unfinished: bool = False) -> list[str]:
    """Names of folders that the last `keep_runs` runs of each recipe did not use; none if no run is recorded.

    With `unfinished`, also what only killed or failed runs would continue from.
    """
    runs = run_summaries(store)
    if _unknown(store, runs, keep_runs):
        return []
    good = [run for run in runs.values() if BROKEN not in run]
    open_runs = list(_open_runs(store, good, running_only=unfinished))
    kept = _used(_recent(good, keep_runs)) | _used(open_runs) | _pinned(store)
    if not kept:
        return []
    artifacts = artifact_summaries(store)
    kept |= _bases(artifacts, kept)
    since = _first_start(open_runs)
    dropped = [ref for ref in artifacts if ref not in kept and not _is_new(store, ref, since)]
    return sorted([*dropped, *_unused_chunks(store, artifacts, kept, open_runs), *_unused_work(store, open_runs)])


def unknown(store: Store, *, keep_runs: int) -> list[str]:
    """Messages for records that cannot be read, and without which it is unknown what is unused."""
    return _unknown(store, run_summaries(store), keep_runs)


def delete_unused(store: Store, names: Iterable[str]) -> list[str]:
    """Delete these folders, except those that are in use by now. Returns the names of the deleted folders."""
    deleted = []
    for part in batched(names, BATCH):
        with locked(gate_of(store)):
            running = [run for run in run_summaries(store).values() if _is_running(store, run)]
            used = _used(running)
            deleted += [name for name in part if name not in used and _delete(store, name)]
    return deleted


def outdated(store: Store, recipe: str, *, keep_runs: int) -> list[str]:
    """Artifacts that only older runs of this recipe used. These can be deleted while other recipes are running.

    Kept is everything that a run of another recipe, or one of the last `keep_runs` runs of this recipe, has used.
    """
    found = run_summaries(store)
    if _unknown(store, found, keep_runs):
        return []
    runs = [run for run in found.values() if BROKEN not in run]
    mine = [run for run in runs if run["recipe"] == recipe]
    kept = _used([run for run in runs if run["recipe"] != recipe] + mine[-keep_runs:])
    kept |= _used(_open_runs(store, mine)) | _pinned(store)
    kept |= _bases(artifact_summaries(store), kept)
    dropped = {ref for run in mine[:-keep_runs] for ref in run["refs"]} - kept
    return sorted(ref for ref in store.refs() if ref in dropped)


def _unknown(store: Store, runs: dict[str, Summary], keep_runs: int) -> list[str]:
    started = defaultdict(list)
    for run in runs.values():
        if BROKEN not in run and run["refs"]:
            started[run["recipe"]].append(datetime.fromisoformat(run["started"]).strftime("%Y%m%d-%H%M%S"))
    broken = {run_id: run[BROKEN] for run_id, run in runs.items() if BROKEN in run}
    recent = [said for run_id, said in broken.items() if _is_recent(run_id, started, keep_runs)]
    return recent + read_histories(store)[1]


def _recent(runs: list[Summary], keep_runs: int) -> list[Summary]:
    by_recipe = defaultdict(list)
    for run in runs:
        if run["refs"]:  # a run that has just begun does not push out an older run
            by_recipe[run["recipe"]].append(run)
    return [run for found in by_recipe.values() for run in (found[-keep_runs:] if keep_runs else [])]


def _open_runs(store: Store, runs: Iterable[Summary], *, running_only: bool = False) -> Iterator[Summary]:
    """Runs that did not reach their end, unless the same recipe has done so since."""
    ended: set[str] = set()
    for run in reversed(list(runs)):
        status = status_of(store, run)
        if status == DONE:
            ended.add(run["recipe_digest"])
        elif status == RUNNING or not (running_only or run["recipe_digest"] in ended):
            yield run


def _used(runs: Iterable[Summary]) -> set[str]:
    return {name for run in runs for name in (*run["refs"], *run["working"])}


def _bases(artifacts: dict[str, Summary], kept: set[str]) -> set[str]:
    """The models on which kept adapters stand."""
    return {base for ref in kept & artifacts.keys() if (base := artifacts[ref].get("base")) in artifacts}


def _pinned(store: Store) -> set[str]:
    return {ref for history in read_histories(store)[0] for ref in history.references()}


def _is_recent(run_id: str, started: dict[str, list[str]], keep_runs: int) -> bool:
    """Whether a run with a broken record may be among the newest runs, as far as its name tells."""
    found = RUN_ID.fullmatch(run_id)
    if found is None:
        return True
    later = [time for time in started[found["recipe"]] if time > f"{found['day']}-{found['time']}"]
    return len(later) < keep_runs


def _is_running(store: Store, run: Summary) -> bool:
    return BROKEN not in run and status_of(store, run) == RUNNING


def _unused_chunks(
    store: Store, artifacts: dict[str, Summary], kept: set[str], open_runs: list[Summary]
) -> Iterator[str]:
    """Row chunks that no kept artifact uses. Open runs keep all rows of their stage, whatever code made them."""
    live = _used(open_runs)
    for ref in kept & artifacts.keys():
        if BROKEN not in artifacts[ref]:
            live |= set(rows_names(ref.partition("/")[0], artifacts[ref]))
    stages = {name.partition("/")[0] for run in open_runs for name in run["working"]}
    since = _first_start(open_runs)
    for name in store.rows():
        if name not in live and name.partition("/")[0] not in stages and not _is_new(store, name, since):
            yield name


def _unused_work(store: Store, open_runs: list[Summary]) -> Iterator[str]:
    used = _used(open_runs)
    since = _first_start(open_runs)
    for name in store.abandoned():
        if name not in used and not _is_new(store, name, since):
            yield name


def _is_new(store: Store, name: str, since: int | None) -> bool:
    """Whether an open run that began at `since` may have made this folder."""
    if since is None:
        return False
    try:
        return (store.root / name).stat().st_mtime_ns >= since
    except OSError:  # the folder is only in the remote store
        return False


def _first_start(open_runs: Iterable[Summary]) -> int | None:
    """Give the start of the first open run with a record of an earlier version, in nanoseconds.

    Such a record does not tell what the run was working at.
    """
    starts = [datetime.fromisoformat(run["started"]) for run in open_runs if run["format"] < SEALED_SINCE]
    return int(min(starts).timestamp()) * 10**9 if starts else None


def _delete(store: Store, name: str) -> bool:
    """Delete a folder and return True, unless a process builds or reads it."""
    path = PurePosixPath(name)
    with ExitStack() as stack:
        if len(path.parts) == 2:
            lock = store.lock_if_free(path.parts[0], path.name.removeprefix(WORK))
            if not stack.enter_context(lock):
                return False
        store.delete(name)
    return True
