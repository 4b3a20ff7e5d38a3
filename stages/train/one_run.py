"""One training run in this process, alone or as one of several: from what `RunSpec` names to a saved model."""

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


def learn(work: RunSpec, on_step: Callable[[int, int], None]) -> tuple[list[CurvePoint], Plan]:
    """Train and save the model; several processes do so together, and the main one saves."""
    model = student_of(work)
    points, plan = fit(model, work.examples(), **work.what(), on_step=on_step)
    _save(work, model)
    return points, plan


def student_of(work: RunSpec) -> Any:
    """The model as training begins with it."""
    settings = work.settings
    if getattr(work.method, "HEAD", None) == "reward":
        model = load_reward_model(work.student, from_body=True)
    else:
        model = load_model(work.student, dtype=torch.float32)
    set_dropout(model, settings.optimiser.dropout)
    return with_adapter(model, settings.lora, settings.seed)


def with_adapter(model: Any, lora: LoraSettings | None, seed: int) -> Any:
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


def _save(work: RunSpec, model: Any) -> None:
    whole = _gathered(work, model) if is_sharded() else model
    if is_main_process():
        save_model(work.path / MODEL, _merged(whole), load_tokenizer(work.student), like=work.student)


def _gathered(work: RunSpec, model: Any) -> Any:
    """The sharded model as a whole one in the main process's memory; every process takes part."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not is_main_process():
        return None
    whole = student_of(work)
    whole.load_state_dict(state)
    return whole


def _merged(model: Any) -> Any:
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
