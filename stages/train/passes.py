"""The plan of how examples go through a model: the layout, the size of a pass, one or two passes, checkpointing.

A plan changes time and memory, and results only by rounding. A resumed run uses the plan of its beginning, so that it
ends with exactly the model of a run that was not interrupted.
"""

import json
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from pydantic import TypeAdapter

from hasse.data.errors import InputError
from hasse.data.records import TrainingExample
from hasse.pipeline.files import write_atomically
from hasse.stages.models.load import has_dropout
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import Layout, choose_layout, innermost, outputs_of, prepared
from hasse.stages.train.memory import Sizes, plan_memory
from hasse.stages.train.optimiser import OptimiserSettings

NOT_IN_KEYS = "it decides in which processes and in how much memory work is done; results agree up to rounding"

LOG = logging.getLogger("hasse")

FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """The plan by which examples go through the model.

    why: the reason for the layout; max_tokens: tokens of one forward pass; checkpointing: whether activations are
    recomputed in backward; peak_bytes: by the probe, weights included.
    """

    layout: Layout
    why: str
    passes: str
    max_tokens: int
    checkpointing: bool
    peak_bytes: int

    def summary(self) -> dict[str, Any]:
        """The parts of the plan that do not depend on the memory that happens to be free."""
        return {"layout": self.layout, "why": self.why, "passes": self.passes, "checkpointing": self.checkpointing}

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, json.dumps(asdict(self)))

    @staticmethod
    def read(folder: Path) -> "Plan | None":
        """The plan from the beginning of a run. None, with a warning, where it cannot be read."""
        try:
            return TypeAdapter(Plan).validate_json((folder / FILE).read_text())
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            LOG.warning(
                "%s cannot be read: %s. Training goes on with a new plan; results may differ by rounding.",
                folder / FILE,
                reason,
            )
            return None


def make_plan(model: Any, examples: Sequence[TrainingExample], settings: OptimiserSettings, *, is_reward: bool) -> Plan:
    """A plan from the model, a probe of memory and the examples.

    A model with dropout, that of an adapter included, takes one pass, because dropout would make two passes differ.
    Raises InputError for what cannot fit into memory or cannot be honoured.
    """
    layout, why = choose_layout(model, examples, settings.layout)
    with prepared(model, layout):
        budget = plan_memory(
            model,
            partial(outputs_of, is_reward=is_reward),
            Sizes.of(examples, layout),
            layout,
            max_tokens=settings.micro_batch_tokens,
            checkpointing=settings.gradient_checkpointing,
            free_bytes=None if settings.memory_gib is None else int(settings.memory_gib * 2**30),
        )
    passes = "one" if has_dropout(model) else settings.passes
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return _agreed(Plan(layout, why, passes, budget.max_tokens, budget.checkpointing, budget.peak_bytes + weights))


def _agreed(plan: Plan) -> Plan:
    """The plan itself, or where several processes train, that of the process with the least memory."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return plan
    PartialState(cpu=not torch.cuda.is_available())
    plans: list[Plan] = gather_object([plan])
    return min(plans, key=lambda p: (not p.checkpointing, p.max_tokens))


def apply_liger(model: Any) -> None:
    """Put Liger's kernels into the body of the model, not its head. Raises InputError without the package."""
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance  # type: ignore[import-not-found]
    except ImportError as error:
        raise InputError("liger: true needs the package liger-kernel; pip install 'hasse-llm[liger]'") from error
    _apply_liger_kernel_to_instance(model=innermost(model), fused_linear_cross_entropy=False, cross_entropy=False)


def compile_body(model: Any, attempt: Callable[[], Any]) -> bool:
    """Compile the body of the model. Where `attempt`, a pass through the model, fails, warn and undo."""
    body = innermost(model).base_model
    try:
        body.compile(dynamic=True)
        attempt()
        return True
    except Exception as error:
        body._compiled_call_impl = None
        torch._dynamo.reset()
        reason = (str(error).strip().splitlines() or [""])[0]
        warnings.warn(
            f"torch.compile failed, training goes on without it: {type(error).__name__}: {reason}", stacklevel=2
        )
        return False


def try_pass(model: Any, example: TrainingExample, plan: Plan, is_reward: bool) -> None:
    """Run one example forward and backward, and forget the gradients."""
    batch = collate([example]).to(next(model.parameters()).device)
    outputs_of(model, batch, plan.layout, is_reward=is_reward).sum().backward()
    model.zero_grad()
