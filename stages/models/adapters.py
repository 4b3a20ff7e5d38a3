"""Folders of LoRA adapters: what they hold, and on which base they stand.

An adapter that was trained here names its base in base.json, by the digests of the base's content and by where the base
lies: an artifact of the same store, or a folder. An adapter from elsewhere names its base in adapter_config.json alone.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.pipeline.fingerprint import digest, file_digest, model_digests
from hasse.pipeline.remote.store import MIRROR
from hasse.pipeline.store import MANIFEST
from hasse.stages.models.model_folders import (
    ADAPTER,
    MODEL,
    check_model_folder,
    check_whole,
    has_tokenizer,
    is_adapter,
    locate,
    read_object,
    weight_files,
)

WEIGHTS = "adapter_model.safetensors"
BASE = "base.json"
BASE_NAME = "base_model_name_or_path"
PLACES = (BASE_NAME, "revision")
"""The parts of an adapter's config that say where the base lies. They are in no digest: the base's content is."""


def check_adapter(folder: Path) -> Path:
    """The folder of the adapter's base. Raises InputError for an adapter that cannot answer on its base."""
    config = adapter_config(folder)
    if (kind := config.get("peft_type")) != "LORA":
        raise InputError(f"{folder} holds an adapter of type {kind}; only LORA is supported")
    if (task := config.get("task_type")) not in (None, "CAUSAL_LM"):
        raise InputError(f"{folder} holds an adapter for {task}; a student is an adapter for CAUSAL_LM")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} has no {WEIGHTS}; save the adapter with save_pretrained, which writes safetensors")
    check_whole(folder / WEIGHTS)
    base = base_of(folder)
    check_model_folder(base, is_trained=True)
    return base


def base_or_self(folder: Path) -> Path:
    """The folder with the whole model: that of the base for an adapter, the folder itself otherwise."""
    return base_of(folder) if is_adapter(folder) else folder


def base_of(folder: Path) -> Path:
    """The folder of the model on which the adapter stands.

    Raises InputError, with the names of both, where the base is missing, is an adapter itself, or has other weights
    than those on which the adapter was trained.
    """
    named = read_base(folder)
    base = _named_base(folder) if named is None else _recorded_base(folder, named)
    if is_adapter(base):
        raise InputError(f"{folder} is an adapter on {base}, which is an adapter itself; merge that one first")
    return base


def read_base(folder: Path) -> dict[str, Any] | None:
    """What base.json says of the base: `digests`, `folder`, `ref` and `stamps`. None for an adapter from elsewhere."""
    path = folder / BASE
    if not path.is_file():
        return None
    values = read_object(path)
    for name, kind in {"digests": dict, "ref": str | None, "folder": str, "stamps": dict}.items():
        if name not in values or not isinstance(values[name], kind):
            raise InputError(f"{path} does not tell the adapter's base: {name} is missing or of a wrong type")
    if "weights" not in values["digests"]:
        raise InputError(f"{path} does not tell the adapter's base: digests.weights is missing")
    return values


def write_base(folder: Path, base: Path, *, digests: dict[str, str], store: Path) -> dict[str, Any]:
    """Name the base of an adapter that was trained here, and give what base.json then says.

    digests: those of the base, by `model_digests`; store: the root of the store that holds the adapter.
    """
    base = base.resolve()
    values = {
        "digests": digests,
        "ref": _ref_in(base, store.resolve()),
        "folder": str(base),
        "stamps": _stamps(base),
    }
    (folder / BASE).write_text(json.dumps(values, indent=1), encoding="utf-8")
    # For other programs, which do not read base.json.
    name, revision = _hub_name(base)
    config = {**adapter_config(folder), BASE_NAME: name, "revision": revision}
    (folder / ADAPTER).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    return values


def folder_digests(folder: Path) -> dict[str, str]:
    """The digests of weights, tokenizer and chat template of a model; an adapter's weights count with its base's."""
    if not is_adapter(folder):
        return model_digests(folder)
    base, own = base_digests(folder), _own_digests(folder)
    weights = digest({"adapter": own.pop("adapter"), "base": base["weights"]})
    return {**base, **own, "weights": weights}


def adapter_digests(folder: Path) -> dict[str, str]:
    """The digests of the adapter and of its base; a change of either makes another student."""
    return {**{f"base {part}": value for part, value in model_digests(base_of(folder)).items()}, **_own_digests(folder)}


def adapter_config(folder: Path) -> dict[str, Any]:
    """The adapter's settings, as PEFT has saved them."""
    return read_object(folder / ADAPTER)


def _own_digests(folder: Path) -> dict[str, str]:
    """The digest of the adapter and, where it has a tokenizer of its own, those of tokenizer and template."""
    config = {name: value for name, value in adapter_config(folder).items() if name not in PLACES}
    tokenizer = model_digests(folder) if has_tokenizer(folder) else {}
    return {
        **{part: value for part, value in tokenizer.items() if part != "weights"},
        "adapter": digest({"config": config, "weights": file_digest(folder / WEIGHTS)}),
    }


def base_digests(folder: Path) -> dict[str, str]:
    """The digests of the adapter's base, as they were when the adapter was trained."""
    named = read_base(folder)
    return model_digests(base_of(folder)) if named is None else named["digests"]


def _named_base(folder: Path) -> Path:
    config = adapter_config(folder)
    name = config.get(BASE_NAME)
    if not name or not isinstance(name, str):
        raise InputError(f"{folder / ADAPTER} names no {BASE_NAME}; write the base's folder or hub name there")
    try:
        return locate(name, revision=config.get("revision"))
    except InputError as error:
        raise InputError(f"{folder} is an adapter on {name!r}, as its {ADAPTER} says: {error}") from error


def _recorded_base(folder: Path, named: dict[str, Any]) -> Path:
    base = next((place for place in _places(folder, named) if place.is_dir()), None)
    if base is None and named["ref"] is None and str(adapter_config(folder).get(BASE_NAME)) != named["folder"]:
        base = _named_base(folder)  # a snapshot of the hub, perhaps on another machine
    if base is None:
        where = named["ref"] or named["folder"]
        raise InputError(
            f"{folder} is an adapter on {where}, which is missing; restore {named['folder']}, or run the recipe again, "
            "which makes both anew"
        )
    if not _is_same(base, named):
        raise InputError(
            f"{folder} is an adapter on weights {named['digests']['weights'][:12]}, and {base} now holds others; "
            "restore that model, or train the adapter again"
        )
    return base


def _places(folder: Path, named: dict[str, Any]) -> Iterator[Path]:
    """Where the base may lie: in the adapter's store, in this machine's copies of a remote store, or as recorded."""
    if named["ref"] is not None:
        store = folder.resolve().parents[2]
        yield store / named["ref"] / MODEL
        if store.parent.name == MIRROR:
            yield from sorted(store.parent.glob(f"*/{named['ref']}/{MODEL}"))
    yield Path(named["folder"])


def _is_same(base: Path, named: dict[str, Any]) -> bool:
    """Whether the base has the weights on which the adapter was trained. Files are read only if their stamps differ."""
    manifest = base.parent / MANIFEST
    if named["ref"] is not None and manifest.is_file():
        return json.loads(manifest.read_text())["identity"].get("weights") == named["digests"]["weights"]
    return _stamps(base) == named["stamps"] or model_digests(base)["weights"] == named["digests"]["weights"]


def _stamps(base: Path) -> dict[str, list[int]]:
    """Size and modification time of each file with weights."""
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in weight_files(base)}


def _ref_in(base: Path, store: Path) -> str | None:
    """stage/fingerprint of the store's artifact whose model this is; None for a model outside the store."""
    if not base.is_relative_to(store):
        return None
    *_, stage, fingerprint, _ = base.parts
    return f"{stage}/{fingerprint}"


def _hub_name(base: Path) -> tuple[str, str | None]:
    """(name, revision) by which other programs find the base: a snapshot of the hub by its name there, else a path."""
    owner = base.parents[1].name
    if base.parent.name == "snapshots" and owner.startswith("models--"):
        return owner.removeprefix("models--").replace("--", "/"), base.name
    return str(base), None
