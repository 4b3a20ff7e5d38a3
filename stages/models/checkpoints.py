"""Checkpoint artifacts: a model folder, its digests as identity, and one row with its origin."""

from pathlib import Path
from typing import Any

import yaml

from hasse.data.parquet import read_records
from hasse.data.records import Checkpoint
from hasse.data.settings import key_of
from hasse.pipeline.remote.store import open_store
from hasse.pipeline.stage import Job
from hasse.pipeline.store import MANIFEST, Artifact, table_name
from hasse.stages.models.adapters import base_digests, base_of, folder_digests, read_base, write_base
from hasse.stages.models.chat_template import TemplateOptions, with_options
from hasse.stages.models.model_folders import MODEL, is_adapter


def model_folder(artifact: Artifact, *, weights: bool = True) -> Path:
    """The folder with the checkpoint's tokenizer and weights on this machine; an adapter's base is here as well then.

    With `weights=False` a remote store downloads everything but the weights. Raises InputError for an adapter whose
    base is missing.
    """
    (checkpoint,) = artifact.records(Checkpoint)
    if checkpoint.location:
        return Path(checkpoint.location)
    for name in artifact.manifest.files:
        if name.startswith(f"{MODEL}/") and (weights or not name.endswith(".safetensors")):
            artifact.file(name)
    folder = artifact.path / MODEL
    if is_adapter(folder):
        _fetch_base(artifact, folder, weights=weights)
    return folder


def _fetch_base(artifact: Artifact, folder: Path, *, weights: bool) -> None:
    ref = (read_base(folder) or {}).get("ref")
    if ref is not None:
        base = open_store(artifact.store_location).artifact(ref)
        if (base.path / MANIFEST).is_file():
            model_folder(base, weights=weights)
    base_of(folder)


def name_base(job: Job, start: Artifact) -> None:
    """Write down on which base the adapter stands that the job has trained. `start`: the model that it began with."""
    began = model_folder(start)
    base, digests = began, start.manifest.identity
    if is_adapter(began):
        base, digests = base_of(began), base_digests(began)
    named = write_base(job.path / MODEL, base, digests=dict(digests), store=job.store.root)
    job.metrics["adapter_on"] = named["ref"] or named["folder"]


def identity(path: Path) -> dict[str, str]:
    """The digests of weights, tokenizer and chat template, which enter the keys of later stages."""
    (checkpoint,) = read_records(path / f"{table_name(Checkpoint)}.parquet", Checkpoint)
    options = {"options": checkpoint.template_options} if checkpoint.template_options else {}
    return {
        "weights": checkpoint.weights_digest,
        "tokenizer": checkpoint.tokenizer_digest,
        "template": checkpoint.template_digest,
        **options,
    }


def publish_model(
    job: Job,
    *,
    method: str,
    seed: int,
    num_steps: int,
    base: Checkpoint | None = None,
    location: Path | None = None,
    template_options: str | None = None,
) -> None:
    """Write the checkpoint's row. The model lies in the job's folder `model/`, which gets a card, or at `location`.

    template_options: as in `Checkpoint`; a model with a base has the options of the base.
    """
    digests = folder_digests(location or job.path / MODEL)
    row = Checkpoint(
        name=job.name,
        method=method,
        seed=seed,
        num_steps=num_steps,
        weights_digest=digests["weights"],
        tokenizer_digest=digests["tokenizer"],
        template_digest=digests["template"],
        base_weights_digest=base.weights_digest if base else None,
        location=str(location) if location else None,
        template_options=base.template_options if base else template_options,
    )
    job.write([row], Checkpoint)
    if location is None:
        (job.path / MODEL / "README.md").write_text(model_card(job, row), encoding="utf-8")


def load_tokenizer_of(artifact: Artifact, *, weights: bool = True) -> Any:
    """The checkpoint's tokenizer, which renders conversations with the options that the checkpoint names.

    With `weights=False` a remote store downloads everything but the weights.
    """
    from hasse.stages.models.load import load_tokenizer

    (checkpoint,) = artifact.records(Checkpoint)
    tokenizer = load_tokenizer(model_folder(artifact, weights=weights))
    return with_options(tokenizer, TemplateOptions.of_text(checkpoint.template_options))


def _asked(row: Checkpoint) -> str:
    if row.template_options is None:
        return ""
    return f"## Chat template\n\nThe model was trained and evaluated with `{row.template_options}`.\n\n"


def model_card(job: Job, row: Checkpoint) -> str:
    """The model card: the model's inputs, the training method and settings, and the metrics of training."""
    inputs = "\n".join(f"* {name}: {', '.join(f'`{a.ref}`' for a in found)}" for name, found in job.inputs.items())
    settings = yaml.safe_dump(key_of(job.settings), sort_keys=False).strip()
    metrics = yaml.safe_dump(job.metrics, sort_keys=False).strip()
    return f"""---
library_name: transformers
tags: [hasse, {row.method}]
---
# {row.name}

Trained by `{row.method}`, seed {row.seed}, {row.num_steps} optimiser steps.

## Lineage

{inputs or "* nothing of the store"}

Weights `{row.weights_digest}`{f", from weights `{row.base_weights_digest}`" if row.base_weights_digest else ""}.

{_asked(row)}## Settings

```yaml
{settings}
```

## Metrics of training

```yaml
{metrics}
```
"""
