"""What of a store can go: artifacts that no recent run used, abandoned work, row chunks of code that is no more.

What the nights of a recipe go on from stays, however old it is.
"""

from collections import defaultdict
from typing import Any

from data.errors import CorruptFile
from flows.promotion import pinned
from flows.run_records import read_runs
from pipeline.fingerprint import digest
from pipeline.store import Artifact, Store


def prunable(store: Store, *, keep_runs: int) -> list[str]:
    """Names of folders that the last `keep_runs` runs of every recipe did without; nothing while no run is recorded."""
    kept = kept_refs(store, keep_runs)
    if not kept:
        return []
    refs = store.refs()
    dropped = [ref for ref in refs if ref not in kept]
    live = {name for ref in refs if ref in kept for name in _rows_names(store.artifact(ref))}
    chunks = [name for name in store.rows() if name not in live]
    return sorted([*dropped, *store.abandoned(), *chunks])


def kept_refs(store: Store, keep_runs: int) -> set[str]:
    by_recipe = defaultdict(list)
    for run in read_runs(store):
        if run["steps"]:  # a run that has just begun takes no older one's place
            by_recipe[run["recipe"]["name"]].append(run)
    recent = [run for runs in by_recipe.values() for run in (runs[-keep_runs:] if keep_runs else [])]
    return _used(recent) | pinned(store)


def outdated(store: Store, recipe: str, *, keep_runs: int) -> list[str]:
    """Artifacts that only earlier runs of this recipe used: what can go while other recipes are running.

    All runs of other recipes keep theirs, finished or not, and so do the last `keep_runs` of this one.
    """
    runs = read_runs(store)
    mine = [run for run in runs if run["recipe"]["name"] == recipe]
    kept = _used([run for run in runs if run["recipe"]["name"] != recipe] + mine[-keep_runs:]) | pinned(store)
    dropped = _used(mine[:-keep_runs]) - kept
    return sorted(ref for ref in store.refs() if ref in dropped)


def _used(runs: list[dict[str, Any]]) -> set[str]:
    return {step["ref"] for run in runs for step in run["steps"]}


def _rows_names(artifact: Artifact) -> list[str]:
    """Of the artifact's code, and of that of each judge where there are several."""
    try:
        found = artifact.manifest
    except CorruptFile:
        return []
    codes = [digest(found.key["code"]), *(judge["code"] for judge in found.metrics.get("judges", {}).values())]
    return [f"{artifact.stage}/rows/{code[:24]}" for code in codes]
