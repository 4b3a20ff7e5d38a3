"""Checkpoint artifacts: a model folder, its digests as identity, and one row with its origin."""

import os
from pathlib import Path

import yaml

from hasse.data.errors import InputError
from hasse.data.parquet import read_records
from hasse.data.records import Checkpoint
from hasse.data.settings import key_of
from hasse.pipeline.fingerprint import model_digests
from hasse.pipeline.stage import Job
from hasse.pipeline.store import Artifact, table_name

MODEL = "model"
CONTENT = "config.json, model.safetensors and a tokenizer"


def model_folder(artifact: Artifact, *, weights: bool = True) -> Path:
    """The folder with the checkpoint's tokenizer and weights on this machine.

    With `weights=False` a remote store downloads everything but the weights.
    """
    (checkpoint,) = artifact.records(Checkpoint)
    if checkpoint.location:
        return Path(checkpoint.location)
    if weights:
        return artifact.file(MODEL)
    for name in artifact.manifest.files:
        if name.startswith(f"{MODEL}/") and not name.endswith(".safetensors"):
            artifact.file(name)
    return artifact.path / MODEL


def identity(path: Path) -> dict[str, str]:
    """The digests of weights, tokenizer and chat template, which enter the keys of later stages."""
    (checkpoint,) = read_records(path / f"{table_name(Checkpoint)}.parquet", Checkpoint)
    return {
        "weights": checkpoint.weights_digest,
        "tokenizer": checkpoint.tokenizer_digest,
        "template": checkpoint.template_digest,
    }


def publish_model(
    job: Job, *, method: str, seed: int, num_steps: int, base: Checkpoint | None = None, location: Path | None = None
) -> None:
    """Write the checkpoint's row. The model lies in the job's folder `model/`, which gets a card, or at `location`."""
    digests = model_digests(location or job.path / MODEL)
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
    )
    job.write([row], Checkpoint)
    if location is None:
        (job.path / MODEL / "README.md").write_text(model_card(job, row), encoding="utf-8")


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

## Settings

```yaml
{settings}
```

## Metrics of training

```yaml
{metrics}
```
"""


def locate(name: str, *, revision: str | None) -> Path:
    """The folder of a model: a local folder, or the snapshot of a hub name. Raises InputError for anything else."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise InputError(f"{name!r} is a file; a model is a folder with {CONTENT}")
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub client raises a dozen unrelated types
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise InputError(
            f"{name!r} is neither a local folder nor a model that the hub gave{offline}: {str(error).splitlines()[0]}"
        ) from error
