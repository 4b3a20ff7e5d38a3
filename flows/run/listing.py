"""Lists of all artifacts and all runs of a store, read from an index that is kept up to date."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hasse.data.errors import CorruptFile
from hasse.flows.run.records import ENDING, read_record, record_files, status_of
from hasse.pipeline import index
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.index import BROKEN, Summary
from hasse.pipeline.manifest import Manifest
from hasse.pipeline.store import Store

Row = dict[str, Any]


def artifact_summaries(store: Store) -> dict[str, Summary]:
    """Reference -> summary of the artifact, oldest first. A broken artifact has only its problem."""
    return index.summaries(store.root / index.FOLDER / "artifacts.json", store.manifest_files(), _of_manifest)


def run_summaries(store: Store) -> dict[str, Summary]:
    """Run id -> summary of the run, oldest first, broken records last. A broken record has only its problem."""
    files = {path.rpartition("/")[2].removesuffix(ENDING): path for path in record_files(store)}
    found = index.summaries(store.root / index.FOLDER / "runs.json", files, _of_record)
    return dict(sorted(found.items(), key=lambda item: (BROKEN in item[1], item[1].get("started", item[0]))))


def artifact_rows(store: Store, *, stage: str | None = None) -> list[Row]:
    found = artifact_summaries(store)
    return [_artifact_row(ref, summary) for ref, summary in found.items() if stage in (None, ref.partition("/")[0])]


def run_rows(store: Store) -> list[Row]:
    return [_run_row(store, run_id, summary) for run_id, summary in run_summaries(store).items()]


def sizes(store: Store, names: list[str]) -> list[Row]:
    """The size of each of these folders of the store, in megabytes."""
    known = artifact_summaries(store) if names else {}
    found = {name: known.get(name, {}).get("num_bytes") for name in names}
    return [{"path": name, "mb": round((size or store.num_bytes(name)) / 1e6, 3)} for name, size in found.items()]


def rows_names(stage: str, summary: Summary) -> Iterable[str]:
    """Names of the folders with the row chunks of an artifact, and of each of several judges."""
    return (f"{stage}/rows/{code[:24]}" for code in summary["codes"])


def _of_manifest(path: Path) -> Summary:
    found = Manifest.read(path)
    counts = {table: sum(by_status.values()) for table, by_status in found.counts.items()}
    unfinished = [f"{n} {status}" for status, n in found.open_units.items()]
    return {
        "step": found.name,
        "created": found.created,
        "seconds": round(found.seconds, 1),
        "rows": ", ".join([*(f"{n} {table}" for table, n in counts.items()), *unfinished]),
        "base": found.metrics.get("adapter_on"),
        "dollars": round(found.cost_usd, 4),
        "num_bytes": found.num_bytes,
        "codes": _codes(found, path),
    }


def _codes(manifest: Manifest, path: Path) -> list[str]:
    try:
        judges = manifest.metrics.get("judges", {}).values()
        return [manifest.row_code or digest(manifest.key["code"]), *(judge["code"] for judge in judges)]
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path} is not a manifest: it does not tell the code of its rows ({error!r})") from error


def _of_record(path: Path) -> Summary:
    run = read_record(path)
    return {
        "run_id": run["run_id"],
        "recipe": run["recipe"]["name"],
        "recipe_digest": digest(run["recipe"]),
        "started": run["started"],
        "status": run["status"],
        "host": run["host"],
        "how": run["how"],
        "refs": [step["ref"] for step in run["steps"]],
        "working": run["working"],
        "format": run["format"],
        "cached": sum(step["cached"] for step in run["steps"]),
        "seconds": round(sum(step["seconds"] for step in run["steps"]), 1),
    }


def _artifact_row(ref: str, summary: Summary) -> Row:
    if BROKEN in summary:
        return {"ref": ref, "step": BROKEN, "created": "", "seconds": 0.0, "rows": summary[BROKEN]}
    row = {"ref": ref, **{name: summary[name] for name in ("step", "created", "seconds", "rows")}}
    if summary["base"]:
        row["rows"] = f"{row['rows']}, adapter on {summary['base']}"
    return {**row, "dollars": summary["dollars"]} if summary["dollars"] else row


def _run_row(store: Store, run_id: str, summary: Summary) -> Row:
    if BROKEN in summary:
        said = f"{BROKEN}: {summary[BROKEN]}"
        return {"run": run_id, "started": "", "status": said, "steps": 0, "cached": 0, "seconds": 0.0}
    return {
        "run": run_id,
        "started": summary["started"],
        "status": status_of(store, summary),
        "steps": len(summary["refs"]),
        "cached": summary["cached"],
        "seconds": summary["seconds"],
    }
