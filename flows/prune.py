"""What of a store can go: artifacts that no recent run used, abandoned work, row chunks of code that is no more."""

import shutil
from collections import defaultdict
from pathlib import Path

from data.errors import CorruptFile
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
    live = {_rows_folder(store, a) for a in artifacts if a.ref in kept}
    chunks = [path for path in store.root.glob("*/rows/*") if path not in live]
    return sorted([*dropped, *abandoned, *chunks])


def kept_refs(store: Store, keep_runs: int) -> set[str]:
    by_recipe = defaultdict(list)
    for run in read_runs(store):
        if run["steps"]:  # a run that has just begun takes no older one's place
            by_recipe[run["recipe"]["name"]].append(run)
    recent = [run for runs in by_recipe.values() for run in (runs[-keep_runs:] if keep_runs else [])]
    return {step["ref"] for run in recent for step in run["steps"]}


def delete(paths: list[Path]) -> None:
    for path in paths:
        shutil.rmtree(path)


def _rows_folder(store: Store, artifact: Artifact) -> Path | None:
    try:
        code = artifact.manifest.key["code"]
    except CorruptFile:
        return None
    return store.root / artifact.stage / "rows" / digest(code)[:24]
