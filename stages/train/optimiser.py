"""Settings of the optimiser and of how examples go through the model, the same for every method."""

import math
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from hasse.data.errors import RecipeError
from hasse.data.settings import Config, unkeyed


class OptimiserSettings(Config):
    steps: int | None = Field(default=None, ge=1, description="Optimiser steps; leave it out to train for `epochs`.")
    epochs: float = Field(
        default=1.0, gt=0, description="Passes over the examples, when steps is not given. Rescue: 1."
    )
    prompts_per_step: int = Field(
        default=8, ge=1, description="Prompts in one optimiser step, over all devices. Rescue: 8."
    )
    learning_rate: float = Field(
        default=2e-5, gt=0, description="Peak learning rate. Rescue: 2e-5, for models of about 7B parameters."
    )
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = Field(
        default="cosine", description="Course of the learning rate. Rescue: cosine."
    )
    warmup: float = Field(
        default=0.03, ge=0, description="Share of the steps below 1, number of steps from 1. Rescue: 0.03."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Rescue: 0.")
    adam_beta1: float = Field(default=0.9, ge=0, lt=1, description="Of AdamW.")
    adam_beta2: float = Field(default=0.999, ge=0, lt=1, description="Of AdamW.")
    max_grad_norm: float = Field(default=1.0, ge=0, description="Clip the gradient's norm; 0 does not clip.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto: bfloat16 compute with float32 weights on CUDA, float32 on CPU."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Dropout of the whole model; losses with log-prob differences need 0."
    )
    gradient_checkpointing: bool | Literal["auto"] = unkeyed(
        "auto",
        description="Recompute activations: less memory for about a third more time; auto: if the longest answer "
        "does not fit otherwise.",
    )
    layout: Literal["auto", "shared", "packed", "padded"] = unkeyed(
        "auto",
        description="How answers lie in a forward pass. shared: all answers of a prompt after one copy of it; packed: "
        "sequences one after another; padded: one row each. auto: shared if it is faster and exact with the model.",
    )
    passes: Literal["auto", "one", "two"] = unkeyed(
        "auto",
        description="one: all answers of a prompt are in memory together. two: all answers are scored without "
        "autograd, then those with a gradient are run again, a few at a time; the result is exact. auto: two if the "
        "answers of a prompt do not fit, or if few have a gradient.",
    )
    micro_batch_tokens: int | None = unkeyed(
        None,
        ge=1,
        description="Tokens in one forward pass; left out: as many as fit by a probe of memory, at most 16,384.",
    )
    memory_gib: float | None = unkeyed(
        None,
        gt=0,
        description="Memory for training besides the weights, GiB; left out: the memory that is free at the start.",
    )
    compile: bool = unkeyed(False, description="Use torch.compile; if it fails, training warns and goes on without it.")
    liger: bool = unkeyed(
        False, description="Liger's kernels for norms, rotary positions and MLPs, on CUDA with hasse[liger]."
    )
    save_steps: int = unkeyed(100, ge=1, description="Steps between checkpoints, from which a stopped run resumes.")

    @model_validator(mode="after")
    def _honourable(self) -> "OptimiserSettings":
        if self.precision == "bfloat16" and not _cuda():
            raise ValueError("precision: bfloat16 needs a CUDA device; use auto or float32 here")
        if self.liger and not _cuda():
            raise ValueError("liger: its kernels need a CUDA device; leave it out here")
        if self.passes == "two" and self.dropout > 0:
            raise ValueError(
                "passes: two scores every answer twice, and dropout would make the scores differ; set dropout: 0"
            )
        return self

    def num_steps(self, num_examples: int) -> int:
        return self.steps or math.ceil(self.epochs * num_examples / self.prompts_per_step)

    def prompts_per_process(self) -> int:
        """Prompts of one step in this process. Raises RecipeError if the processes cannot share a step evenly."""
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if self.prompts_per_step % processes:
            raise RecipeError(f"prompts_per_step {self.prompts_per_step} is not a multiple of {processes} processes")
        return self.prompts_per_step // processes


def _cuda() -> bool:
    return Path("/dev/nvidiactl").exists()
