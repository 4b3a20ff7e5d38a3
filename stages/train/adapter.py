"""The adapter that a run trains: its frozen base, its beginning, and its continuation from an earlier adapter."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from hasse.data.errors import InputError
from hasse.stages.models.adapters import WEIGHTS, adapter_config, base_of
from hasse.stages.models.frozen_base import load_base
from hasse.stages.models.load import adapted, load_model
from hasse.stages.train.settings import LoraSettings

LORA = "lora_"
ROUTERS = ("gate", "router", "shared_expert_gate")
"""The last names of routers in models with experts. The gate of a dense MLP is called `gate_proj`."""


def load_to_train(folder: Path, lora: LoraSettings) -> Any:
    """The folder's adapter on its base, to be trained further."""
    return adapted(load_base(base_of(folder), lora.base), folder, is_trainable=True)


def add_adapter(model: Any, lora: LoraSettings, seed: int, *, is_reward: bool = False) -> PeftModel:
    """The model with a new adapter, which changes nothing as yet. Trained weights are float32, the base is frozen."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  a ratio need not be whole
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        exclude_modules=routers_of(model) or None,
        task_type="SEQ_CLS" if is_reward else "CAUSAL_LM",
    )
    adapted: Any = get_peft_model(model, config)
    if is_reward:
        adapted.get_base_model().score.float()
    return adapted


def routers_of(model: torch.nn.Module) -> list[str]:
    """The linear layers that choose or weigh experts. They stay frozen, so that tokens keep their experts.

    Transformers keeps the experts themselves as stacked parameters, which are no linear layers and get no adapter.
    """
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in ROUTERS
    ]


def continue_adapter(model: PeftModel, start: Path) -> None:
    """Let the model's new adapter begin with the weights of the adapter in `start`. Raises InputError if they differ.

    A reward model takes over the layers of its language model.
    """
    state, config = load_file(start / WEIGHTS), adapter_config(start)
    before = get_peft_model_state_dict(model)
    own = {name: tensor.shape for name, tensor in before.items() if LORA in name}
    given = {name: tensor.shape for name, tensor in state.items() if LORA in name}
    alpha = model.peft_config["default"].lora_alpha  # type: ignore[union-attr]  it is that of add_adapter
    if own != given or alpha != config["lora_alpha"]:
        raise InputError(
            f"the adapter in {start} has r {config['r']}, alpha {config['lora_alpha']:g} and "
            f"{len(given) // 2} layers, and cannot be trained further by train.lora with alpha {alpha:g} and "
            f"{len(own) // 2} layers; give train.lora the adapter's settings, or merge it by `hasse export --merged`"
        )
    set_peft_model_state_dict(model, before | state)


def merged(model: PeftModel, folder: Path, lora: LoraSettings) -> Any:
    """The trained adapter merged into the folder's whole model, in float32, whatever base it was trained on.

    For a model on which others are to train their adapters.
    """
    whole: Any = add_adapter(load_model(folder, dtype=torch.float32), lora, 0)
    set_peft_model_state_dict(whole, get_peft_model_state_dict(model))
    return whole.merge_and_unload()
