"""Checkpoint artifacts: a model folder, its digests as identity, and one row with its origin."""

import os
from pathlib import Path
from typing import Any

import yaml

from hasse.data.errors import InputError
from hasse.data.parquet import read_records
from hasse.data.records import Checkpoint
from hasse.data.settings import key_of
from hasse.pipeline.fingerprint import model_digests
from hasse.pipeline.stage import Job
from hasse.pipeline.store import Artifact, table_name
from hasse.stages.models.chat_template import TemplateOptions, with_options

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
