"""Check that a folder holds a model that can be sampled and trained, before a run and without loading the model."""

import json
import os
import struct
from pathlib import Path
from typing import Any

from hasse.data.errors import CorruptFile, InputError
from hasse.pipeline.sealed import read_json

CONFIG, INDEX, WEIGHTS, ADAPTER = (
    "config.json",
    "model.safetensors.index.json",
    "model.safetensors",
    "adapter_config.json",
)
MODEL = "model"
"""The folder of the model in the artifact of a checkpoint."""
CONTENT = "config.json, model.safetensors and a tokenizer"
OBJECTS = (CONFIG, "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")
"""The files that hold a JSON object, if they are there."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Endings of the names of architectures that generate text."""


def locate(name: str, *, revision: str | None) -> Path:
    """The folder of a model: a local folder, or the snapshot of a hub name. Raises InputError for anything else."""
    folder = Path(name).expanduser()
    try:
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except OSError as error:
        raise InputError(f"{name!r:.100} can be neither a folder nor a hub name: {error.strerror}") from error
    if is_folder:
        return folder
    if is_file:
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


def config_folder(name: str, *, revision: str | None) -> Path:
    """A folder with the model's config, for what can be told without weights. Raises InputError where there is none."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, CONFIG, revision=revision)).parent
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise InputError(f"the config of {name!r} was not found: {str(error).splitlines()[0]}") from error


def check_model_folder(folder: Path, *, is_trained: bool) -> None:
    """Raises InputError, with what to do, for a folder that cannot be used. `is_trained`: the model will be trained."""
    config = check_causal(folder)
    if is_trained and (quantised := config.get("quantization_config")):
        method = quantised.get("quant_method", "of an unknown kind") if isinstance(quantised, dict) else quantised
        raise InputError(f"{folder} holds quantised weights ({method}), which cannot be trained; give the full model")
    check_weights(folder)
    check_tokenizer(folder)
    for name in OBJECTS:
        values = read_object(folder / name) if (folder / name).exists() else {}
        if not _are_ids(ends := values.get("eos_token_id")):
            raise InputError(f"{folder / name}: eos_token_id is {ends!r:.100}, which is no id and no list of ids")


def check_causal(folder: Path) -> dict[str, Any]:
    """The folder's config. Raises InputError where there is none, or for another kind of model."""
    config = read_config(folder)
    names = config.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{folder / CONFIG}: architectures is {names!r:.100} instead of a list of names")
    if config.get("is_encoder_decoder"):
        raise InputError(f"{folder} holds an encoder-decoder model ({_listed(names)}); hasse trains decoders alone")
    if names and not any(name.endswith(CAUSAL) for name in names):
        raise InputError(
            f"{folder} holds {_listed(names)}, which does not write text; give a causal language model, whose "
            "architecture ends in ForCausalLM"
        )
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config. Raises InputError, which says what the folder holds instead of a model."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder} has no {CONFIG}{_instead(folder)}")
    config = read_object(path)
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise InputError(f"{path} has no model_type; save the model with model.save_pretrained")
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError for anything else."""
    try:
        values = read_json(path, kind="JSON file")
    except CorruptFile as error:
        raise InputError(str(error)) from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds {values!r:.100} instead of a JSON object")
    return values


def check_weights(folder: Path) -> None:
    """Raises InputError for weights that are missing, cut off, or pickled."""
    for path in weight_files(folder):
        check_whole(path)


def check_whole(path: Path) -> None:
    """Raises InputError for a safetensors file that is missing or shorter than its header says."""
    if not path.is_file():
        raise InputError(f"{path} is missing; fetch the model again, or save it with model.save_pretrained")
    with path.open("rb") as file:
        start = file.read(8)
        (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
        header = file.read(length) if 0 < length <= path.stat().st_size else b""
    try:
        tensors = json.loads(header)
        needed = 8 + length + max(v["data_offsets"][1] for k, v in tensors.items() if k != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no safetensors file; a git-lfs pointer or a broken download?") from error
    if path.stat().st_size != needed:
        raise InputError(f"{path} has {path.stat().st_size} bytes where its header says {needed}; fetch it again")


def check_tokenizer(folder: Path) -> None:
    """Raises InputError for a folder without a tokenizer."""
    if not has_tokenizer(folder):
        raise InputError(
            f"{folder} has no tokenizer ({', '.join(TOKENIZERS)}); save it beside the weights with "
            "tokenizer.save_pretrained"
        )


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZERS)


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter. Raises InputError where it holds a whole model as well."""
    if not (folder / ADAPTER).is_file():
        return False
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        raise InputError(f"{folder} holds a whole model and an adapter ({ADAPTER}); move one of them to its own folder")
    return True


def weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        return _shards(index)
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if any(found := [path.name for pattern in PICKLES for path in sorted(folder.glob(pattern))]):
        raise InputError(
            f"{folder} holds weights as {found[0]}, a pickle, which can run code when it is loaded; save the model "
            "with model.save_pretrained, which writes safetensors"
        )
    raise InputError(f"{folder} has neither {WEIGHTS} nor {INDEX}, so no weights{_instead(folder)}")


def _shards(index: Path) -> list[Path]:
    """The files that an index names. Raises InputError unless all are safetensors files beside the index."""
    parts = read_object(index).get("weight_map")
    names = list(parts.values()) if isinstance(parts, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{index} has no weight_map from tensors to files; save the model with model.save_pretrained")
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"{index} names {name!r:.100}, which is no safetensors file of its own folder")
    return [index.parent / name for name in sorted(set(names))]


def _are_ids(value: Any) -> bool:
    """Whether the value is None, the id of a token, or a list of ids."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    return all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids)


def _instead(folder: Path) -> str:
    if any(folder.glob("*.gguf")):
        return "; it holds a GGUF file, which cannot be trained: give the model that it was made from"
    if (folder / ADAPTER).is_file():
        return f"; it holds an adapter ({ADAPTER}) alone"
    return "; give the folder that model.save_pretrained has written"


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "no architecture named"
