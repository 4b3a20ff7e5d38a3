"""Train a model on examples: make the plan, set up the trainer, resume from checkpoints, and read the curve."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from hasse.data.errors import InputError
from hasse.data.records import CurvePoint, TrainingExample
from hasse.stages.models.this_process import is_main_process, is_sharded
from hasse.stages.scoring.score import group_of, prepared
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.passes import Plan, apply_liger, compile_body, make_plan, try_pass
from hasse.stages.train.throughput import Costs, useful_tokens
from hasse.stages.train.tracking import TrackingSettings, tracked
from hasse.stages.train.trainer import CandidateTrainer, Schedule, epochs_of
from hasse.stages.train.whole_checkpoints import last_checkpoint

MACHINE_METRICS = frozenset({"step", "epoch", "prompts_per_second", "useful_tokens_per_second", "mfu", "passes"})
"""Logged numbers that depend on the clock or on the machine."""


def fit(
    model: Any,
    examples: Sequence[TrainingExample],
    *,
    method: ModuleType,
    method_settings: Any,
    settings: OptimiserSettings,
    seed: int,
    folder: Path,
    on_step: Callable[[int, int], None],
    tracking: TrackingSettings | None = None,
) -> tuple[list[CurvePoint], Plan]:
    """Train the model in place, resuming from the last whole checkpoint in `folder`.

    Returns the curve and the plan. TensorBoard events go to `folder`, unless `tracking` leaves them out. A resumed run
    uses the plan of its beginning.
    Raises InputError for what cannot fit into memory or cannot be honoured.
    """
    is_reward, tracking = method.HEAD == "reward", tracking or TrackingSettings()
    last = last_checkpoint(folder)
    _check_same_sharding(last)
    old_plan = Plan.read(folder) if last else None
    plan = old_plan or make_plan(model, examples, settings, is_reward=is_reward)
    _check_reward_layout(plan, is_reward)
    if old_plan is None and is_main_process():
        plan.write(folder)
    if settings.liger:
        apply_liger(model)
    with prepared(model, plan.layout):
        if settings.compile:
            compile_body(model, partial(try_pass, model, examples[0], plan, is_reward))
        num_steps = settings.num_steps(len(examples))
        arguments = _arguments(settings, plan, tracking, num_steps=num_steps, seed=seed, folder=folder)
        trainer = _trainer(model, examples, method, method_settings, settings, plan, arguments, on_step)
        with tracked(tracking):
            trainer.train(resume_from_checkpoint=last)
    return curve(trainer.state.log_history), plan


def estimate(
    model: Any,
    examples: Sequence[TrainingExample],
    *,
    method: ModuleType,
    method_settings: Any,
    settings: OptimiserSettings,
    seed: int,
    folder: Path,
    num_steps: int = 3,
) -> dict[str, Any]:
    """The cost of `fit`: steps, useful tokens, operations, peak bytes, and seconds extrapolated from a few real steps.

    Raises InputError, as `fit` would, for what cannot fit into memory.
    """
    plan = make_plan(model, examples, settings, is_reward=method.HEAD == "reward")
    times: list[float] = []
    with prepared(model, plan.layout):
        unseen = TrackingSettings(trackers=())
        arguments = _arguments(settings, plan, unseen, num_steps=num_steps, seed=seed, folder=folder, save=False)
        trainer = _trainer(
            model,
            examples,
            method,
            method_settings,
            settings,
            plan,
            arguments,
            lambda *_: times.append(time.monotonic()),
        )
        trainer.train()
    total, costs = settings.num_steps(len(examples)), Costs(model)
    used = total * settings.prompts_per_step / len(examples)
    return {
        "layout": f"{plan.layout}: {plan.why}",
        "steps": total,
        "useful_tokens": round(used * sum(map(useful_tokens, examples))),
        "operations": used * sum(map(costs.of, examples)),
        "peak_bytes": plan.peak_bytes,
        "seconds": total * (times[-1] - times[0]) / (len(times) - 1),
    }


def _trainer(
    model: Any,
    examples: Sequence[TrainingExample],
    method: ModuleType,
    method_settings: Any,
    settings: OptimiserSettings,
    plan: Plan,
    arguments: TrainingArguments,
    on_step: Callable[[int, int], None],
) -> CandidateTrainer:
    num_slots = arguments.max_steps * settings.prompts_per_step
    trainer = CandidateTrainer(
        model=model,
        args=arguments,
        train_dataset=Schedule(examples, num_slots=num_slots, seed=arguments.seed),
        callbacks=[StepReport(on_step)],
        method=method,
        method_settings=method_settings,
        plan=plan,
    )
    trainer.remove_callback(PrinterCallback)
    if is_sharded():
        _shard(trainer)
    return trainer


def _shard(trainer: CandidateTrainer) -> None:
    """Let sharded layers compute in the trainer's precision, with outputs and gradients in float32.

    Raises InputError where accelerate has not turned sharding on.
    """
    if not trainer.is_fsdp_enabled:
        raise InputError("launch.fsdp: accelerate shards weights only over GPUs; leave fsdp out on this machine")
    low = torch.bfloat16 if trainer.args.bf16 else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32 if low else None)
    trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = policy  # type: ignore[union-attr]  it is there


def _check_same_sharding(checkpoint: str | None) -> None:
    if checkpoint is None:
        return
    was_sharded = any(Path(checkpoint).glob("pytorch_model_fsdp*"))
    if was_sharded != is_sharded():
        how = "with" if was_sharded else "without"
        raise InputError(
            f"this training began {how} launch.fsdp and cannot resume otherwise; run {how} it, or start again with "
            "--from-stage train"
        )


def _check_reward_layout(plan: Plan, is_reward: bool) -> None:
    """Refuse several processes for padded rows, which call a reward model past the wrapper that exchanges gradients."""
    if is_reward and plan.layout == "padded" and (int(os.environ.get("WORLD_SIZE", "1")) > 1 or is_sharded()):
        raise InputError(
            f"a reward model in padded rows ({plan.why}) trains in one process only; set launch.processes: 1"
        )


def cost(examples: Iterable[TrainingExample], settings: OptimiserSettings, *, seed: int) -> dict[str, int]:
    """The completions that a run trains on, and their tokens with the tokens of a prompt for each completion."""
    sizes = np.array(
        [(len(lengths), len(lengths) * prompt + sum(lengths)) for prompt, lengths in map(group_of, examples)]
    )
    order = epochs_of(len(sizes), settings.num_steps(len(sizes)) * settings.prompts_per_step, seed)
    sequences, tokens = sizes[order].sum(0).tolist()
    return {"sequences": sequences, "tokens": tokens}


def curve(history: list[dict[str, float]]) -> list[CurvePoint]:
    """The log as rows, without the numbers that depend on the machine. A resumed run gives the same rows."""
    return [
        CurvePoint(step=int(entry["step"]), metric=metric, value=float(value))
        for entry in history
        if "loss" in entry
        for metric, value in sorted(entry.items())
        if metric not in MACHINE_METRICS
    ]


def _arguments(
    settings: OptimiserSettings,
    plan: Plan,
    tracking: TrackingSettings,
    *,
    num_steps: int,
    seed: int,
    folder: Path,
    save: bool = True,
) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.prompts_per_process(),
        max_steps=num_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        activation_checkpointing=plan.checkpointing,
        seed=seed,
        bf16=cuda and settings.precision != "float32",
        use_cpu=not cuda,
        optim="adamw_torch_fused",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps" if save else "no",
        save_steps=settings.save_steps,
        save_total_limit=2,
        **tracking.arguments(),
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one GPU per process; accelerate runs several processes
    return arguments


class StepReport(TrainerCallback):
    """Calls on_step(steps done, all steps) after each optimiser step."""

    def __init__(self, on_step: Callable[[int, int], None]):
        self.on_step = on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.on_step(state.global_step, state.max_steps)
