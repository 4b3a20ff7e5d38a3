"""Put LoRA adapters on models, and let several models in one process hold the weights of their base once."""

import copy
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from torch import nn

from hasse.data.errors import InputError
from hasse.stages.models.adapters import WEIGHTS

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")
MISMATCHES = (RuntimeError, ValueError, KeyError, UserWarning)
"""What PEFT raises, or warns of, for an adapter of another model."""


def with_adapter(base: Any, folder: Path, *, is_trainable: bool = False) -> Any:
    """The base with the folder's adapter, in evaluation mode. Raises InputError where they do not fit.

    The result is a PeftModel; `disable_adapter()` makes it answer as its base.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            model = PeftModel.from_pretrained(base, str(folder), is_trainable=is_trainable)
    except MISMATCHES as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise InputError(f"the adapter in {folder} does not fit its base: {reason}") from error
    return model.eval()


def same_weights(model: nn.Module) -> Any:
    """A second model on the weights of this one: without its adapter, and with everything but the weights of its own.

    The weights are held once, so neither model may change them.
    """
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers()) if tensor is not None}
    states = (getattr(module, "quant_state", None) for module in model.modules())
    shared |= {id(state): state for state in states if state is not None}
    twin = copy.deepcopy(model, shared)
    return twin.unload() if isinstance(twin, PeftModel) else twin


def stands_on(model: Any, base: Path, dtype: torch.dtype) -> bool:
    """Whether the model, or the base of its adapter, came from this folder and has weights of this type."""
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return Path(inner.name_or_path) == base and inner.dtype == dtype


def num_embeddings(folder: Path) -> int | None:
    """The number of embeddings that the adapter brings along; None where it uses those of its base."""
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        name = next((name for name in file.keys() if name.endswith(EMBEDDINGS)), None)  # noqa: SIM118  not a mapping
        return file.get_slice(name).get_shape()[0] if name else None
