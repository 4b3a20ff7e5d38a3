"""The model under an adapter: frozen, in the precision that the training settings name."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from hasse.data.errors import InputError
from hasse.stages.models.adapters import base_of
from hasse.stages.models.load import adapted, default_dtype, load_model, load_reward_model
from hasse.stages.models.model_folders import is_adapter
from hasse.stages.models.this_process import is_sharded


def load_frozen(folder: Path, precision: str) -> Any:
    """The folder's model as training begins with it, with the weights of the base in this precision."""
    if is_adapter(folder):
        return adapted(load_base(base_of(folder), precision), folder)
    return load_base(folder, precision)


def load_base(folder: Path, precision: str, *, is_reward: bool = False) -> Any:
    """The model on which an adapter is trained, with weights in this precision: auto, float32 or 4bit.

    auto: bfloat16 on CUDA, float32 on the CPU and where the model will be sharded.

    With `is_reward`, a head of zeros is put on it. Raises InputError for 4bit without bitsandbytes.
    """
    dtype = torch.float32 if precision == "float32" or is_sharded() else default_dtype()
    quantisation = _four_bits(dtype) if precision == "4bit" else None
    if is_reward:
        return load_reward_model(folder, from_body=True, dtype=dtype, quantisation=quantisation)
    return load_model(folder, dtype=dtype, quantisation=quantisation)


def _four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with quantised scales, computing in `dtype`: QLoRA, arXiv 2305.14314."""
    if find_spec("bitsandbytes") is None:
        raise InputError("lora.base: 4bit needs the package bitsandbytes; pip install 'hasse-llm[4bit]'")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
