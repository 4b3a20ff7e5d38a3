"""Merge an adapter into its base, for programs that need whole weights."""

from pathlib import Path
from typing import Any

import torch

from hasse.data.errors import InputError
from hasse.data.records import Checkpoint
from hasse.pipeline.store import Artifact, table_name
from hasse.stages.models.adapters import base_of
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.models.load import load_model, load_tokenizer, save_model
from hasse.stages.models.model_folders import is_adapter


def load_merged(folder: Path) -> Any:
    """An adapter merged into its base as one model, in float32."""
    model: Any = load_model(folder, dtype=torch.float32)
    return model.merge_and_unload()


def save_merged(folder: Path, target: Path) -> None:
    """Save base and adapter as one model in float32, with the adapter's tokenizer if it has one."""
    save_model(target, load_merged(folder), load_tokenizer(folder), like=base_of(folder))


def export_merged(artifact: Artifact, target: Path) -> None:
    """Write the adapter of an artifact, merged into its base. Raises InputError for anything but an adapter."""
    if f"{table_name(Checkpoint)}.parquet" not in artifact.manifest.files:
        raise InputError(f"{artifact.ref} holds no model; give a step of `train`")
    folder = model_folder(artifact)
    if not is_adapter(folder):
        raise InputError(f"{artifact.ref} has whole weights already, in {folder}")
    save_merged(folder, target)
