"""What of a store can go: artifacts that no recent run used, abandoned work, row chunks of code that is no more."""

from collections import defaultdict

from data.errors import CorruptFile
from flows.walk import read_runs
from pipeline.fingerprint import digest
from pipeline.store import Artifact, Store


def prunable(store: Store, *, keep_runs: int) -> list[str]:
    """Names of folders that the last `keep_runs` runs of every recipe did without; nothing while no run is recorded."""
    kept = kept_refs(store, keep_runs)
    if not kept:
        return []
    refs = store.refs()
    dropped = [ref for ref in refs if ref not in kept]
    live = {_rows_folder(store.artifact(ref)) for ref in refs if ref in kept}
    chunks = [name for name in store.rows() if name not in live]
    return sorted([*dropped, *store.abandoned(), *chunks])


def kept_refs(store: Store, keep_runs: int) -> set[str]:
    by_recipe = defaultdict(list)
    for run in read_runs(store):
        by_recipe[run["recipe"]["name"]].append(run)
    recent = [run for runs in by_recipe.values() for run in (runs[-keep_runs:] if keep_runs else [])]
    return {step["ref"] for run in recent for step in run["steps"]}


def _rows_folder(artifact: Artifact) -> str | None:
    try:
        code = artifact.manifest.key["code"]
    except CorruptFile:
        return None
    return f"{artifact.stage}/rows/{digest(code)[:24]}"
