"""Rows that commands and pages show of one artifact: its manifest, its tables, its key, and examples as text."""

from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hasse.data.errors import CorruptFile, InputError
from hasse.data.records import TrainingExample
from hasse.data.settings import registry
from hasse.flows.run.query import table_files
from hasse.pipeline.fingerprint import differences
from hasse.pipeline.store import Artifact, Store
from hasse.stages.models.checkpoints import load_tokenizer_of

Row = dict[str, Any]


def manifest(artifact: Artifact) -> Row:
    """All values of the manifest, with the reference and the path of the artifact."""
    found = artifact.manifest
    files = {name: {"bytes": f.num_bytes, "sha256": f.sha256} for name, f in found.files.items()}
    return {"ref": artifact.ref, "path": artifact.location, **vars(found), "files": files}


def rows(artifact: Artifact, *, table: str | None, prompt_id: str | None, status: str | None, limit: int) -> list[Row]:
    """The first rows of one table whose prompt id begins with `prompt_id` and whose status is `status`.

    Raises InputError for an unknown table or column, and CorruptFile for a file that cannot be read.
    """
    path = _table(artifact, table)
    found: list[Row] = []
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=8192):
            part = pa.Table.from_batches([batch])
            if prompt_id is not None:
                part = part.filter(
                    pc.call_function(
                        "starts_with", [_column(part, "prompt_id", path)], pc.MatchSubstringOptions(prompt_id)
                    )
                )
            if status is not None:
                part = part.filter(pc.call_function("equal", [_column(part, "status", path), status]))
            found += part.slice(0, limit - len(found)).to_pylist()
            if len(found) >= limit:
                break
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"{path} cannot be read: {error}; `hasse verify` lists what is broken") from error
    return found


def explain(store: Store, artifact: Artifact, other: Artifact | None) -> Row:
    """The parts of an artifact's key, and how they differ from `other`, or from the previous artifact of the step."""
    before = other or _previous(store, artifact)
    found: Row = {"ref": artifact.ref, "step": artifact.manifest.name, "key": artifact.manifest.key}
    if before is None:
        return {**found, "compared_with": None, "differences": []}
    changes = differences(before.manifest.key, artifact.manifest.key)
    listed = [{"part": part, "there": there, "here": here} for part, there, here in changes]
    return {**found, "compared_with": before.ref, "differences": listed}


def preview(store: Store, artifact: Artifact, *, limit: int) -> list[Row]:
    """Training examples as text: the prompt, and each completion, whose tokens are the only ones trained on.

    Raises InputError for an artifact without examples.
    """
    if not artifact.table_path(TrainingExample).is_file():
        raise InputError(f"{artifact.ref} holds no training examples; give examples or feedback_examples")
    tokenizer = load_tokenizer_of(store.resolve(artifact.manifest.inputs["student"][0]), weights=False)
    usable = (e for e in artifact.records(TrainingExample) if e.status == "ok")
    return [
        {
            "prompt_id": example.prompt_id,
            "prompt": tokenizer.decode(list(example.prompt_token_ids)),
            "completion": f"{i}{' (target)' if i == example.target else ''}",
            "trained segment": tokenizer.decode(list(completion.token_ids)),
            "tokens": len(completion.token_ids),
        }
        for example in islice(usable, limit)
        for i, completion in enumerate(example.completions)
    ]


def _table(artifact: Artifact, name: str | None) -> Path:
    """The file of a table; without a name, of the first table."""
    tables = table_files(artifact)
    if not tables:
        raise InputError(f"{artifact.ref} has no tables; its files are listed by `hasse show {artifact.ref}`")
    if name is not None and name not in tables:
        raise InputError(registry.unknown(name, list(tables), kind="table"))
    return artifact.file(tables[name] if name else next(iter(tables.values())))


def _column(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise InputError(f"{path.name} has no column {name}; it has {', '.join(table.column_names)}")
    return table[name]


def _previous(store: Store, artifact: Artifact) -> Artifact | None:
    """The artifact of the same step that was made before this one."""
    same = [a for a in store.artifacts() if a.stage == artifact.stage and a.manifest.name == artifact.manifest.name]
    before = same[: [a.ref for a in same].index(artifact.ref)]
    return before[-1] if before else None
