"""The trainer of every offline method: a `transformers.Trainer` whose step is a group of prompts.

The order of the examples is a function of (seed, epoch) and is fixed before the first step, so a resumed run sees the
same examples as an uninterrupted run. One optimiser step divides its prompts into bins under a token budget. The losses
know the totals of the whole step, so the budget changes memory and not the result. A step takes

    one pass    Forward and backward of whole prompts, bin by bin.
    two passes  (1) Score all completions without autograd. (2) Compute the gradient of the loss with respect to the
                log-prob of each response token. (3) Re-run the completions whose gradient is not zero, bin by bin, and
                backpropagate log-prob times gradient. The sum is exactly the gradient of the loss, with the peak memory
                of one bin, for one more forward pass.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer

from hasse.data.errors import WorkError
from hasse.data.records import TrainingExample
from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps, SequenceRewards, StepTotals, collate, totals
from hasse.stages.scoring.score import group_of, in_passes, outputs_of, tokens_of
from hasse.stages.train.passes import Plan
from hasse.stages.train.throughput import Meter

RECENT_STEPS, FEW_ACTIVE = 10, 0.5
"""With a share a of active completions, two passes cost (1 + 3 a) / 3 of one pass: 0.83 at a half."""


class Schedule(Dataset):
    """The examples of a whole run in the order of their use, with a new permutation for each epoch."""

    def __init__(self, examples: Sequence[TrainingExample], *, num_slots: int, seed: int):
        self.examples, self.order = examples, epochs_of(len(examples), num_slots, seed)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, slot: int) -> TrainingExample:
        return self.examples[int(self.order[slot])]


def epochs_of(num_examples: int, num_slots: int, seed: int) -> np.ndarray:
    """Positions of examples in the order of their use: a permutation for each epoch, a function of (seed, epoch)."""
    epochs = math.ceil(num_slots / num_examples)
    orders = [np.random.default_rng([seed, epoch]).permutation(num_examples) for epoch in range(epochs)]
    return np.concatenate(orders)[:num_slots]


class CandidateTrainer(Trainer):
    """Trains with the `loss` of a method module and its settings."""

    def __init__(self, *, method: ModuleType, method_settings: Any, plan: Plan, **arguments: Any):
        super().__init__(data_collator=lambda examples: {"examples": examples}, **arguments)
        self.method, self.method_settings, self.plan = method, method_settings, plan
        self.is_reward = method.HEAD == "reward"
        self.step_metrics: dict[str, list[float]] = {}
        self.meter = Meter(self.model)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Backpropagate one optimiser step, and return its loss. Raises WorkError for a loss that is not finite."""
        model.train()
        examples = inputs["examples"]
        step = self._step_totals(examples)
        two = any(self._gathered(self._wants_two_passes(examples)))
        loss = self._two_passes(model, examples, step) if two else self._one_pass(model, examples, step)
        self._count("passes", (2.0 if two else 1.0, 1))
        self.meter.count(examples)
        if not torch.isfinite(loss):
            raise WorkError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}; try a lower learning_rate"
            )
        return loss * self.accelerator.num_processes  # a share, and the trainer logs the mean over processes

    def _wants_two_passes(self, examples: list[TrainingExample]) -> bool:
        """Whether a prompt's group exceeds the budget of a pass, or few completions had a gradient in recent steps."""
        if self.plan.passes != "auto":
            return self.plan.passes == "two"
        if any(tokens_of(*group_of(example), self.plan.layout) > self.plan.max_tokens for example in examples):
            return True
        recent = [entry["active"] for entry in self.state.log_history[-RECENT_STEPS:] if "active" in entry]
        return len(recent) == RECENT_STEPS and sum(recent) / RECENT_STEPS < FEW_ACTIVE

    def _one_pass(self, model: Any, examples: list[TrainingExample], step: StepTotals) -> Tensor:
        passes = in_passes([group_of(example) for example in examples], self.plan.layout, self.plan.max_tokens)
        parts = [[examples[i] for i in members] for members in passes]
        loss = torch.zeros((), device=self.args.device)
        for part, last in self._aligned(parts):
            with self._synchronised(model, last):
                loss += self._backward(model, part, step) if part else self._empty_pass(model)
        return loss

    def _backward(self, model: Any, examples: list[TrainingExample], step: StepTotals) -> Tensor:
        batch = replace(collate(examples), step=step).to(self.args.device)
        with self.compute_loss_context_manager():
            outputs = self._outputs(model, batch)
            outputs.register_hook(partial(self._watch, batch))
            loss = self._loss(outputs, batch)
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    def _two_passes(self, model: Any, examples: list[TrainingExample], step: StepTotals) -> Tensor:
        batch = replace(collate(examples), step=step).to(self.args.device)
        everything = list(range(len(batch.completion_ids)))
        scored = torch.zeros(self._num_outputs(batch), device=self.args.device)
        for part, _ in self._aligned(self._slices(batch, everything)):
            with torch.no_grad(), self.compute_loss_context_manager():
                if part:
                    outputs = self._outputs(model, batch.only(part))
                    scored = scored.to(outputs.dtype)
                    scored[self._positions(batch, part)] = outputs
                else:
                    self._empty_pass(model)
        scored.requires_grad_()
        loss = self._loss(scored, batch)
        (gradient,) = torch.autograd.grad(loss, scored)
        active = self._count_active(gradient, batch).nonzero()[:, 0].tolist()
        for part, last in self._aligned(self._slices(batch, active)):
            with self._synchronised(model, last), self.compute_loss_context_manager():
                if part:
                    weighed = self._outputs(model, batch.only(part)) * gradient[self._positions(batch, part)]
                    self.accelerator.backward(weighed.sum() * self.accelerator.num_processes)
                else:
                    self._empty_pass(model)
        return loss.detach()

    def _outputs(self, model: Any, batch: CandidateBatch) -> Tensor:
        """The reward of each completion, or the log-prob of each response token."""
        return outputs_of(model, batch, self.plan.layout, is_reward=self.is_reward)

    def _loss(self, outputs: Tensor, batch: CandidateBatch) -> Tensor:
        seen = SequenceRewards(outputs) if self.is_reward else SequenceLogps.from_tokens(outputs, batch.length_N)
        loss, metrics = self.method.loss(seen, batch, self.method_settings)
        for name, value in metrics.items():
            self._count(name, value)
        return loss

    def _count(self, name: str, value: tuple[Any, Any]) -> None:
        sums = self.step_metrics.setdefault(name, [0.0, 0.0])
        sums[0] += float(value[0])
        sums[1] += float(value[1])

    def _count_active(self, gradient: Tensor, batch: CandidateBatch) -> Tensor:
        """Whether each completion has a gradient, [N]. The share of those that have is the metric `active`."""
        active_N = gradient != 0
        if not self.is_reward:
            active_N = SequenceLogps.from_tokens(gradient.abs(), batch.length_N).sum_N > 0
        self._count("active", (active_N.sum(), len(active_N)))
        return active_N

    def _watch(self, batch: CandidateBatch, gradient: Tensor) -> None:
        self._count_active(gradient, batch)

    def _slices(self, batch: CandidateBatch, completions: list[int]) -> list[list[int]]:
        """These completions in bins under the budget, the completions of a prompt together as far as they fit."""

        def lengths(group: list[int]) -> tuple[int, list[int]]:
            prompt = batch.prompt_ids[int(batch.prompt_N[group[0]])]
            return len(prompt), [len(batch.completion_ids[n]) for n in group]

        groups: list[list[int]] = []
        for n in completions:
            same = groups and int(batch.prompt_N[groups[-1][0]]) == int(batch.prompt_N[n])
            fits = same and tokens_of(*lengths([*groups[-1], n]), self.plan.layout) <= self.plan.max_tokens
            groups = [*groups[:-1], [*groups[-1], n]] if fits else [*groups, [n]]
        passes = in_passes([lengths(group) for group in groups], self.plan.layout, self.plan.max_tokens)
        return [sorted(n for i in members for n in groups[i]) for members in passes]

    def _num_outputs(self, batch: CandidateBatch) -> int:
        return len(batch.length_N) if self.is_reward else int(batch.length_N.sum())

    def _positions(self, batch: CandidateBatch, completions: list[int]) -> Tensor:
        """The positions of these completions' outputs among the outputs of the batch."""
        if self.is_reward:
            return torch.tensor(completions, device=self.args.device)
        end_N, length_N = batch.length_N.cumsum(0).tolist(), batch.length_N.tolist()
        places = [torch.arange(end_N[n] - length_N[n], end_N[n]) for n in completions]
        return torch.cat(places).to(self.args.device)

    def _aligned(self, parts: list[Any]) -> Iterator[tuple[Any, bool]]:
        """(part, whether it is the last), the same number on every process: None where this process has no part."""
        most = max(self._gathered(len(parts)))
        for i in range(most):
            yield (parts[i] if i < len(parts) else None), i == most - 1

    def _empty_pass(self, model: Any) -> Tensor:
        """A pass without an effect, for a process that has no part left while other processes do."""
        outputs = self._outputs(model, self._smallest)
        if torch.is_grad_enabled():
            self.accelerator.backward((outputs * 0).sum())
        return torch.zeros((), device=self.args.device)

    @property
    def _smallest(self) -> CandidateBatch:
        return collate([self.train_dataset[0]]).only([0])  # type: ignore[index]

    def _synchronised(self, model: Any, last: bool) -> Any:
        """A context in which gradients are exchanged only if this is the last backward pass of the step."""
        return nullcontext() if last else self.accelerator.no_sync(model)

    def _gathered(self, value: Any) -> list[Any]:
        return [value] if self.accelerator.num_processes == 1 else gather_object([value])

    def _step_totals(self, examples: list[TrainingExample]) -> StepTotals:
        """The totals over all processes, each of which has its share of the step's prompts."""
        parts: list[StepTotals] = self._gathered(totals(examples, self.method.step_sums))
        sums = sum((Counter(part.sums) for part in parts), Counter())
        return StepTotals(sum(part.num_prompts for part in parts), sums)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the method's metrics and the speed since the last log, besides the trainer's own numbers."""
        logs |= self._metrics()
        if "loss" in logs:
            logs |= self.meter.read(self.accelerator.num_processes)
        super().log(logs, start_time)

    def _metrics(self) -> dict[str, float]:
        """The means of the metrics since the last log, over all processes."""
        total: Counter[str] = Counter()
        count: Counter[str] = Counter()
        for part in self._gathered(self.step_metrics):
            for name, (summed, number) in part.items():
                total[name] += summed
                count[name] += number
        self.step_metrics = {}
        return {name: total[name] / number for name, number in count.items() if number}

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0
