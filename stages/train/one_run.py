"""One training run in this process, which trains alone or with others: from a `RunSpec` to a saved model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hasse.data.records import CurvePoint
from hasse.stages.models.adapters import base_or_self
from hasse.stages.models.frozen_base import load_base
from hasse.stages.models.load import (
    grow_embeddings,
    load_model,
    load_reward_model,
    load_tokenizer,
    save_adapter,
    save_model,
    set_dropout,
    with_score,
)
from hasse.stages.models.merged import load_merged
from hasse.stages.models.model_folders import MODEL, is_adapter
from hasse.stages.models.this_process import is_main_process, is_sharded
from hasse.stages.train.adapter import add_adapter, continue_adapter
from hasse.stages.train.fit import fit
from hasse.stages.train.passes import Plan
from hasse.stages.train.run_spec import RunSpec


def train_model(run_spec: RunSpec, on_step: Callable[[int, int], None]) -> tuple[list[CurvePoint], Plan]:
    """Train and save the model. Of several processes that train together, the main one saves."""
    model = model_to_train(run_spec)
    tracking = run_spec.settings.tracking
    points, plan = fit(model, run_spec.examples(), **run_spec.fit_arguments(), on_step=on_step, tracking=tracking)
    _save(run_spec, model)
    return points, plan


def model_to_train(run_spec: RunSpec) -> Any:
    """The student as training begins with it: with a reward head, an adapter and dropout where the settings say so.

    A student that is an adapter is trained further as an adapter, or merged into its base if all weights are trained.
    """
    settings, start = run_spec.settings, run_spec.student
    is_reward = run_spec.method.HEAD == "reward"
    if settings.lora is None:
        model = _whole_model(start, is_reward=is_reward)
        set_dropout(model, settings.optimiser.dropout)
        return model
    base = load_base(base_or_self(start), settings.lora.base, is_reward=is_reward)
    set_dropout(base, settings.optimiser.dropout)
    if is_adapter(start):
        grow_embeddings(base, start)
    model = add_adapter(base, settings.lora, settings.seed, is_reward=is_reward)
    if is_adapter(start):
        continue_adapter(model, start)
    return model


def _whole_model(start: Path, *, is_reward: bool) -> Any:
    if not is_adapter(start):
        return load_reward_model(start, from_body=True) if is_reward else load_model(start, dtype=torch.float32)
    merged = load_merged(start)
    return with_score(merged) if is_reward else merged


def _save(run_spec: RunSpec, model: Any) -> None:
    whole = _gathered(run_spec, model) if is_sharded() else model
    if is_main_process():
        target, tokenizer, base = (
            run_spec.path / MODEL,
            load_tokenizer(run_spec.student),
            base_or_self(run_spec.student),
        )
        if run_spec.settings.lora is None:
            save_model(target, whole, tokenizer, like=base)
        else:
            save_adapter(target, whole, tokenizer, base=base)


def _gathered(run_spec: RunSpec, model: Any) -> Any:
    """The sharded model as a whole model in the main process, None in others. Every process must call this."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not is_main_process():
        return None
    whole = model_to_train(run_spec)
    whole.load_state_dict(state)
    return whole
