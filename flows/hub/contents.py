"""The files of an artifact that go to the hub: a whole model, an adapter with the name of its base, or tables."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hasse.data.errors import InputError
from hasse.data.records import Checkpoint
from hasse.flows.hub.origin import Origin
from hasse.flows.run.query import table_files
from hasse.pipeline.store import Artifact, table_name
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.models.model_folders import ADAPTER, is_adapter

CARD, CONFIG, BASE = "README.md", "config.json", "base_model_name_or_path"
LOCAL = frozenset({"base.json"})
"""Files of a model's folder that tell of places on this machine."""
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """path in the repository -> a file of this machine, or its content."""

    repo_type: Literal["model", "dataset"]
    files: Mapping[str, Path | bytes]

    def with_card(self, card: str) -> "Contents":
        return Contents(repo_type=self.repo_type, files={**self.files, CARD: card.encode()})

    @property
    def card(self) -> str:
        content = self.files[CARD]
        return content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")

    def sizes(self) -> dict[str, int]:
        """path in the repository -> bytes"""
        return {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in sorted(self.files.items())
        }


@dataclass(frozen=True, kw_only=True)
class ModelToPush:
    """A trained model. base: the hub's name of the model that training began with, where it is known."""

    checkpoint: Checkpoint
    contents: Contents
    base: str | None
    adapter: Mapping[str, Any] | None
    """The adapter's settings; None for whole weights."""
    is_reward: bool


def is_model(artifact: Artifact) -> bool:
    return f"{table_name(Checkpoint)}.parquet" in artifact.manifest.files


def model_to_push(artifact: Artifact, origin: Origin, *, base: str | None) -> ModelToPush:
    """The model of an artifact. Raises InputError for a given model and for an adapter whose base is not on the hub."""
    (checkpoint,) = artifact.records(Checkpoint)
    if checkpoint.location:
        raise InputError(f"{artifact.ref} is the model in {checkpoint.location} as it was given; push a trained model")
    folder = model_folder(artifact)
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in LOCAL
    }
    adapter = json.loads((folder / ADAPTER).read_text()) if is_adapter(folder) else None
    if adapter is None:
        base = base or _on_the_hub((origin.recipe.get("student") or {}).get("model"))
        architectures = json.loads((folder / CONFIG).read_text()).get("architectures") or [""]
        is_reward = architectures[0].endswith("ForSequenceClassification")
    else:
        base = base or _on_the_hub(adapter.get(BASE))
        if base is None:
            raise InputError(
                f"{artifact.ref} is an adapter on {adapter.get(BASE)}, which has no name on the hub; push that model "
                "first and give its name by --base-model, or push whole weights: hasse export --merged"
            )
        if base != adapter.get(BASE):
            files[ADAPTER] = json.dumps({**adapter, BASE: base, "revision": None}, indent=2, sort_keys=True).encode()
        is_reward = adapter.get("task_type") == "SEQ_CLS"
    contents = Contents(repo_type="model", files=files)
    return ModelToPush(checkpoint=checkpoint, contents=contents, base=base, adapter=adapter, is_reward=is_reward)


def tables_to_push(artifact: Artifact) -> Contents:
    """The tables of an artifact, one Parquet file each. Raises InputError for an artifact without tables."""
    names = table_files(artifact)
    if not names:
        raise InputError(f"{artifact.ref} has neither a model nor tables, so there is nothing to push")
    return Contents(repo_type="dataset", files={name: artifact.file(name) for name in names.values()})


def folder_to_push(folder: Path) -> Contents:
    """An exported data set, with its card."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return Contents(repo_type="dataset", files=files)


def _on_the_hub(name: str | None) -> str | None:
    """The name, if it is one of the hub and no path."""
    return name if name and HUB_NAME.fullmatch(name) and not Path(name).exists() else None
