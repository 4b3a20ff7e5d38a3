"""What the listing commands show, as rows of plain values."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from hasse.data.errors import CorruptFile, InputError
from hasse.data.records import TrainingExample
from hasse.data.settings import registry
from hasse.flows.recipe.recipe import shipped_recipes
from hasse.flows.run.history import read_histories, read_history
from hasse.flows.run.query import table_files
from hasse.pipeline.fingerprint import differences
from hasse.pipeline.settings_file import read_yaml
from hasse.pipeline.store import Artifact, Store
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.train.settings import METHODS

Row = dict[str, Any]


def preview(store: Store, artifact: Artifact, *, limit: int) -> list[Row]:
    """Examples decoded: the prompt as context, and each completion, whose tokens alone are learned.

    Raises InputError for an artifact without examples.
    """
    from hasse.stages.models.load import load_tokenizer

    if not artifact.table_path(TrainingExample).is_file():
        raise InputError(f"{artifact.ref} holds no training examples; give examples or feedback_examples")
    tokenizer = load_tokenizer(model_folder(store.resolve(artifact.manifest.inputs["student"][0]), weights=False))
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


def manifest(artifact: Artifact) -> Row:
    """Everything the manifest says, with the path."""
    found = artifact.manifest
    files = {name: {"bytes": f.num_bytes, "sha256": f.sha256} for name, f in found.files.items()}
    return {"ref": artifact.ref, "path": artifact.location, **vars(found), "files": files}


def rows(artifact: Artifact, *, table: str | None, prompt_id: str | None, status: str | None, limit: int) -> list[Row]:
    """Rows of one table that match. Raises InputError for an unknown table or a column that it does not have."""
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
    """The parts of the key, and what differs from another artifact or from the last one of the same step."""
    before = other or _previous(store, artifact)
    found: Row = {"ref": artifact.ref, "step": artifact.manifest.name, "key": artifact.manifest.key}
    if before is None:
        return {**found, "compared_with": None, "differences": []}
    changes = differences(before.manifest.key, artifact.manifest.key)
    listed = [{"part": part, "there": there, "here": here} for part, there, here in changes]
    return {**found, "compared_with": before.ref, "differences": listed}


def recipes() -> list[Row]:
    described = {name: read_yaml(path) for name, path in shipped_recipes().items()}
    return [{"recipe": name, "description": values.get("description", "")} for name, values in described.items()]


def methods() -> list[Row]:
    """One row a setting of a method."""
    found = []
    for name in registry.names(METHODS):
        module = registry.load(METHODS, name, kind="method")
        summary = (module.__doc__ or "").strip().splitlines()[0]
        fields = module.Settings.model_fields.items()
        found.append({"method": name, "setting": "", "default": "", "description": summary})
        found += [
            {"method": name, "setting": key, "default": str(field.default), "description": field.description}
            for key, field in fields
            if key != "method"
        ]
    return found


def latest_models(store: Store) -> list[Row]:
    """One row a recipe that has had a night."""
    histories, problems = read_histories(store)
    found: list[Row] = [{"recipe": "broken", "nights": 0, "model": problem} for problem in problems]
    for history in histories:
        now = history.latest
        model = str(_model(store, now.checkpoint)) if now else "nothing has been promoted yet"
        since = {"since": now.when, "gain": str(now.comparison)} if now else {}
        found.append({"recipe": history.recipe, "nights": len(history.nights), "model": model, **since})
    return found


def latest_model(store: Store, recipe: str, *, with_model: bool) -> Row:
    """The latest model of a recipe, its folder, and all nights.

    Raises InputError for a recipe without a night and, `with_model`, for one whose nights promoted nothing.
    """
    history = read_history(store, recipe)
    if not history.nights:
        known = [h.recipe for h in read_histories(store)[0]]
        raise InputError(registry.unknown(recipe, known, kind="recipe with nights"))
    now = history.latest
    if now is None and with_model:
        raise InputError(f"no model of {recipe} has been promoted yet; last night: {history.nights[-1].reason}")
    return {
        "recipe": recipe,
        "model": str(_model(store, now.checkpoint)) if now else None,
        "latest": asdict(now) if now else None,
        "nights": [asdict(night) for night in history.nights],
    }


def night_row(night: Row) -> Row:
    comparison = night["comparison"]
    return {
        "night": night["when"],
        "promoted": "yes" if night["promoted"] else "",
        "against": night["rival"],
        "gain": f"{comparison['gain']:+.1f} ({comparison['low']:+.1f} to {comparison['high']:+.1f})",
        "prompts": comparison["num_prompts"],
        "run": night["run"],
    }


def _model(store: Store, ref: str) -> Path:
    return model_folder(store.artifact(ref)).absolute()


def as_yaml(values: Row) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120).rstrip()


def _table(artifact: Artifact, name: str | None) -> Path:
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
    same = [a for a in store.artifacts() if a.stage == artifact.stage and a.manifest.name == artifact.manifest.name]
    before = same[: [a.ref for a in same].index(artifact.ref)]
    return before[-1] if before else None
