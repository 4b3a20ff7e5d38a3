"""LoRA adapters as students: the key holds the adapter and its base, and the adapter is merged into the base first."""

import json
import warnings
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.pipeline.fingerprint import digest, file_digest, model_digests
from hasse.stages.models.checkpoints import locate
from hasse.stages.models.model_folders import ADAPTER, check_model_folder, check_whole, has_tokenizer, is_adapter

WEIGHTS = "adapter_model.safetensors"


def check_adapter(folder: Path) -> Path:
    """The folder of the adapter's base. Raises InputError for an adapter that cannot be merged into its base."""
    config = _config(folder)
    if (kind := config.get("peft_type")) != "LORA":
        raise InputError(f"{folder} holds an adapter of type {kind}; only LORA can be merged into its base")
    if (task := config.get("task_type")) not in (None, "CAUSAL_LM"):
        raise InputError(f"{folder} holds an adapter for {task}; a student is an adapter for CAUSAL_LM")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} has no {WEIGHTS}; save the adapter with save_pretrained, which writes safetensors")
    check_whole(folder / WEIGHTS)
    base = base_of(folder)
    if is_adapter(base):
        raise InputError(f"{folder} is an adapter on {base}, which is an adapter itself; merge that one first")
    check_model_folder(base, is_trained=True)
    return base


def base_of(folder: Path) -> Path:
    """The folder of the model on which the adapter was trained. Raises InputError when it is not found."""
    config = _config(folder)
    name = config.get("base_model_name_or_path")
    if not name:
        raise InputError(
            f"{folder / ADAPTER} names no base_model_name_or_path; write the base's folder or hub name there"
        )
    try:
        return locate(name, revision=config.get("revision"))
    except InputError as error:
        raise InputError(f"{folder} is an adapter on {name!r}, as its {ADAPTER} says: {error}") from error


def adapter_digests(folder: Path) -> dict[str, str]:
    """The digests of the adapter and of its base; a change of either makes another student."""
    own = {name: file_digest(folder / name) for name in (ADAPTER, WEIGHTS)}
    tokenizer = model_digests(folder) if has_tokenizer(folder) else {}
    return {
        **{f"base {part}": value for part, value in model_digests(base_of(folder)).items()},
        **{part: value for part, value in tokenizer.items() if part != "weights"},
        "adapter": digest(own),
    }


def save_merged(folder: Path, target: Path) -> None:
    """Save base and adapter as one model in float32, with the adapter's tokenizer if it has one."""
    from hasse.stages.models.load import load_tokenizer, save_model

    base = check_adapter(folder)
    tokenizer = load_tokenizer(folder if has_tokenizer(folder) else base, ends_from=base)
    save_model(target, _merged(folder, base, len(tokenizer)), tokenizer, like=base)


def _merged(folder: Path, base: Path, num_tokens: int) -> Any:
    """The base with the adapter merged. Embeddings are added for tokens that only the adapter's tokenizer has."""
    import torch
    from peft import PeftModel

    from hasse.stages.models.load import load_model

    model: Any = load_model(base, dtype=torch.float32)
    if num_tokens > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(num_tokens)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (RuntimeError, ValueError, UserWarning) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise InputError(f"the adapter in {folder} does not fit its base {base}: {reason}") from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / ADAPTER} is not JSON: {error}") from error
