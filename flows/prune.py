"""What of a store can go: artifacts that no recent run used, abandoned work, row chunks of code that is no more.

What the nights of a recipe go on from stays, however old it is.
"""

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from data.errors import CorruptFile
from flows.promotion import pinned
from flows.walk import read_runs
from pipeline.fingerprint import digest
from pipeline.store import Artifact, Store


def prunable(store: Store, *, keep_runs: int) -> list[Path]:
    """Folders that the last `keep_runs` runs of every recipe did without; nothing while no run is recorded."""
    kept = kept_refs(store, keep_runs)
    if not kept:
        return []
    artifacts = store.artifacts()
    dropped = [a.path for a in artifacts if a.ref not in kept]
    abandoned = list(store.root.glob("*/.work-*"))
    live = {folder for a in artifacts if a.ref in kept for folder in _rows_folders(store, a)}
    chunks = [path for path in store.root.glob("*/rows/*") if path not in live]
    return sorted([*dropped, *abandoned, *chunks])


def kept_refs(store: Store, keep_runs: int) -> set[str]:
    by_recipe = defaultdict(list)
    for run in read_runs(store):
        by_recipe[run["recipe"]["name"]].append(run)
    recent = [run for runs in by_recipe.values() for run in (runs[-keep_runs:] if keep_runs else [])]
    return _used(recent) | pinned(store)


def outdated(store: Store, recipe: str, *, keep_runs: int) -> list[Path]:
    """Artifacts that only earlier runs of this recipe used: what can go while other recipes are running.

    All runs of other recipes keep theirs, finished or not, and so do the last `keep_runs` of this one.
    """
    runs = read_runs(store)
    mine = [run for run in runs if run["recipe"]["name"] == recipe]
    kept = _used([run for run in runs if run["recipe"]["name"] != recipe] + mine[-keep_runs:]) | pinned(store)
    dropped = _used(mine[:-keep_runs]) - kept
    return sorted(a.path for a in store.artifacts() if a.ref in dropped)


def _used(runs: list[dict[str, Any]]) -> set[str]:
    return {step["ref"] for run in runs for step in run["steps"]}


def delete(paths: list[Path]) -> None:
    for path in paths:
        shutil.rmtree(path)


def _rows_folders(store: Store, artifact: Artifact) -> list[Path]:
    """Of the artifact's code, and of that of each judge where there are several."""
    try:
        found = artifact.manifest
    except CorruptFile:
        return []
    codes = [digest(found.key["code"]), *(judge["code"] for judge in found.metrics.get("judges", {}).values())]
    return [store.root / artifact.stage / "rows" / code[:24] for code in codes]
