"""One trainer for every offline method: a `transformers.Trainer` whose step is a group of prompts.

The order of the examples is a function of (seed, epoch) and is laid out before the first step, so a run that was
stopped and resumed sees what the uninterrupted one sees. One optimiser step takes its prompts in micro-batches under
a token budget; the losses know the whole step's totals, so the budget changes memory and nothing else.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from data.errors import WorkError
from data.records import CurvePoint, TrainingExample
from stages.batch import StepTotals, collate, totals
from stages.forward import sequence_logps, sequence_rewards
from stages.optimiser import OptimiserSettings


class Schedule(Dataset):
    """The examples of a whole run in the order in which they are used: one fresh permutation an epoch."""

    def __init__(self, examples: Sequence[TrainingExample], *, num_slots: int, seed: int):
        epochs = math.ceil(num_slots / len(examples))
        orders = [np.random.default_rng([seed, epoch]).permutation(len(examples)) for epoch in range(epochs)]
        self.examples, self.order = examples, np.concatenate(orders)[:num_slots]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, slot: int) -> TrainingExample:
        return self.examples[self.order[slot]]


class CandidateTrainer(Trainer):
    """Trains with `method.loss`; `method_settings` are its settings."""

    def __init__(self, *, method: ModuleType, method_settings: Any, micro_batch_tokens: int, **arguments: Any):
        super().__init__(data_collator=lambda examples: {"examples": examples}, **arguments)
        self.method, self.method_settings, self.micro_batch_tokens = method, method_settings, micro_batch_tokens
        self.forward = sequence_rewards if getattr(method, "HEAD", None) == "reward" else sequence_logps
        self.step_metrics: dict[str, list[float]] = {}

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Backward of one optimiser step, micro-batch by micro-batch; gives the step's loss."""
        model.train()
        step = self._step_totals(inputs["examples"])
        losses = [
            self._backward(model, part, step) for part in micro_batches(inputs["examples"], self.micro_batch_tokens)
        ]
        loss = torch.stack(losses).sum()
        if not torch.isfinite(loss):
            raise WorkError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}; try a lower learning_rate"
            )
        return loss

    def _backward(self, model: torch.nn.Module, examples: list[TrainingExample], step: StepTotals) -> Tensor:
        batch = replace(collate(examples), step=step).to(self.args.device)
        with self.compute_loss_context_manager():
            loss, metrics = self.method.loss(self.forward(model, batch), batch, self.method_settings)
        self.accelerator.backward(loss * self.accelerator.num_processes)
        for name, (total, count) in metrics.items():
            sums = self.step_metrics.setdefault(name, [0.0, 0.0])
            sums[0] += float(total)
            sums[1] += float(count)
        return loss.detach()

    def _step_totals(self, examples: list[TrainingExample]) -> StepTotals:
        """Over all processes: each holds its share of the step's prompts."""
        mine = totals(examples, getattr(self.method, "step_sums", None))
        if self.accelerator.num_processes == 1:
            return mine
        parts: list[StepTotals] = gather_object([mine])
        sums = sum((Counter(part.sums) for part in parts), Counter())
        return StepTotals(sum(part.num_prompts for part in parts), sums)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Beside the trainer's own numbers, the method's metrics since the last log."""
        logs |= {name: total / count for name, (total, count) in self.step_metrics.items() if count}
        self.step_metrics = {}
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0


def micro_batches(examples: Sequence[TrainingExample], max_tokens: int) -> Iterator[list[TrainingExample]]:
    """Consecutive examples whose padded rows stay under the budget; one that is larger on its own goes alone."""
    part: list[TrainingExample] = []
    rows, width = 0, 0
    for example in examples:
        longest = len(example.prompt_token_ids) + max(len(c.token_ids) for c in example.completions)
        if part and (rows + len(example.completions)) * max(width, longest) > max_tokens:
            yield part
            part, rows, width = [], 0, 0
        part.append(example)
        rows, width = rows + len(example.completions), max(width, longest)
    if part:
        yield part


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
) -> list[CurvePoint]:
    """Train in place, resuming from the last whole checkpoint in `folder`; gives every logged number.

    TensorBoard events go to `folder/logs`.
    """
    num_steps = settings.num_steps(len(examples))
    slots = Schedule(examples, num_slots=num_steps * settings.prompts_per_step, seed=seed)
    trainer = CandidateTrainer(
        model=model,
        args=_arguments(settings, num_steps=num_steps, seed=seed, folder=folder),
        train_dataset=slots,
        callbacks=[_Report(on_step)],
        method=method,
        method_settings=method_settings,
        micro_batch_tokens=settings.micro_batch_tokens,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    return curve(trainer.state.log_history)


def cost(examples: Sequence[TrainingExample], settings: OptimiserSettings, *, seed: int) -> dict[str, int]:
    """What a run puts through the model, forward and backward: completions with their prompts, and tokens of these."""
    slots = Schedule(examples, num_slots=settings.num_steps(len(examples)) * settings.prompts_per_step, seed=seed)
    used = [slots[i] for i in range(len(slots))]
    tokens = sum(len(e.prompt_token_ids) + len(c.token_ids) for e in used for c in e.completions)
    return {"sequences": sum(len(e.completions) for e in used), "tokens": tokens}


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written whole: `trainer_state.json` is its last file."""
    found = [path for path in folder.glob("checkpoint-*") if _is_whole(path)]
    return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None


def curve(history: list[dict[str, float]]) -> list[CurvePoint]:
    """The log as rows, in the same order whether the run was resumed or not, without what depends on the clock."""
    return [
        CurvePoint(step=int(entry["step"]), metric=metric, value=float(value))
        for entry in history
        if "loss" in entry
        for metric, value in sorted(entry.items())
        if metric not in ("step", "epoch")
    ]


def _is_whole(path: Path) -> bool:
    try:
        json.loads((path / "trainer_state.json").read_text())
        return True
    except (OSError, ValueError):
        return False


def _arguments(settings: OptimiserSettings, *, num_steps: int, seed: int, folder: Path) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    return TrainingArguments(
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
        activation_checkpointing=settings.gradient_checkpointing,
        seed=seed,
        bf16=cuda and settings.precision != "float32",
        use_cpu=not cuda,
        optim="adamw_torch_fused",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=settings.save_steps,
        save_total_limit=2,
        report_to=["tensorboard"],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


class _Report(TrainerCallback):
    def __init__(self, on_step: Callable[[int, int], None]):
        self.on_step = on_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.on_step(state.global_step, state.max_steps)
