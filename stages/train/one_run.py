"""One training run in this process, which trains alone or with others: from a `RunSpec` to a saved model."""

from collections.abc import Callable
from typing import Any

import torch

from hasse.data.records import CurvePoint
from hasse.stages.models.checkpoints import MODEL
from hasse.stages.models.load import load_model, load_reward_model, load_tokenizer, save_model, set_dropout
from hasse.stages.models.this_process import is_main_process, is_sharded
from hasse.stages.train.fit import fit
from hasse.stages.train.passes import Plan
from hasse.stages.train.run_spec import RunSpec
from hasse.stages.train.settings import LoraSettings


def train_model(run_spec: RunSpec, on_step: Callable[[int, int], None]) -> tuple[list[CurvePoint], Plan]:
    """Train and save the model. Of several processes that train together, the main one saves."""
    model = model_to_train(run_spec)
    tracking = run_spec.settings.tracking
    points, plan = fit(model, run_spec.examples(), **run_spec.fit_arguments(), on_step=on_step, tracking=tracking)
    _save(run_spec, model)
    return points, plan


def model_to_train(run_spec: RunSpec) -> Any:
    """The student as training begins with it: with a reward head, an adapter and dropout where the settings say so."""
    settings = run_spec.settings
    if run_spec.method.HEAD == "reward":
        model = load_reward_model(run_spec.student, from_body=True)
    else:
        model = load_model(run_spec.student, dtype=torch.float32)
    set_dropout(model, settings.optimiser.dropout)
    return add_adapter(model, settings.lora, settings.seed)


def add_adapter(model: Any, lora: LoraSettings | None, seed: int) -> Any:
    if lora is None:
        return model
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  a ratio need not be whole
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _save(run_spec: RunSpec, model: Any) -> None:
    whole = _gathered(run_spec, model) if is_sharded() else model
    if is_main_process():
        save_model(run_spec.path / MODEL, _merged(whole), load_tokenizer(run_spec.student), like=run_spec.student)


def _gathered(run_spec: RunSpec, model: Any) -> Any:
    """The sharded model as a whole model in the main process, None in others. Every process must call this."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not is_main_process():
        return None
    whole = model_to_train(run_spec)
    whole.load_state_dict(state)
    return whole


def _merged(model: Any) -> Any:
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
