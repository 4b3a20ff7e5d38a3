"""The warm-up: a given model is fine-tuned on expert answers before it samples its first candidate.

A chat model that has never seen the form of the answers states no label, and candidates that state none cannot be
ranked. The answers come from the split `pretrain`, which no arm trains on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from hasse.data.errors import InputError
from hasse.data.records import CurvePoint, Prompt
from hasse.data.settings import Config, Seed
from hasse.data.text import unit_hash
from hasse.pipeline.stage import Job
from hasse.stages.models.chat_template import TemplateOptions, with_options
from hasse.stages.models.checkpoints import publish_model
from hasse.stages.models.model_folders import MODEL, is_adapter
from hasse.stages.student.lessons import lesson_prompts, lessons
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.settings import LoraSettings, check_passes


class WarmupSettings(Config):
    """SFT on expert answers of the split `pretrain`, whose share is prompts.fractions.pretrain."""

    num_examples: int | None = Field(
        default=None, ge=1, description="Number of expert answers, drawn from the split; left out: all."
    )
    max_length: int = Field(
        default=512, ge=8, description="The most tokens of prompt and answer together; longer ones are left out."
    )
    lora: LoraSettings | None = Field(
        default=None, description="Train an adapter, which is then merged; left out: train all weights."
    )
    seed: Seed = Field(default=0, description="Decides which answers are drawn, and the order of the examples.")
    optimiser: OptimiserSettings = OptimiserSettings()

    @model_validator(mode="after")
    def _passes_agree(self) -> WarmupSettings:
        check_passes(self.optimiser, self.lora)
        return self


def warm_up(job: Job, settings: WarmupSettings, folder: Path, options: TemplateOptions) -> None:
    """Fine-tune the model of a folder. Raises InputError where the split `pretrain` has fewer answers than wanted."""
    import torch

    from hasse.stages.models.frozen_base import load_base
    from hasse.stages.models.load import (
        check_vocabulary,
        context_length,
        load_model,
        load_tokenizer,
        save_model,
        set_dropout,
    )
    from hasse.stages.train.adapter import add_adapter, merged
    from hasse.stages.train.fit import fit
    from hasse.stages.train.methods import sft
    from hasse.stages.train.trainer_folder import keep_logs

    folder = _whole(job, folder)
    check_vocabulary(folder)
    lora, tokenizer = settings.lora, with_options(load_tokenizer(folder), options)
    model = load_base(folder, lora.base) if lora else load_model(folder, dtype=torch.float32)
    examples, num_long = lessons(_drawn(job, settings), tokenizer, min(settings.max_length, context_length(model)))
    if not examples:
        raise InputError(f"student.warmup: all {num_long} prompts are longer than max_length; raise it")
    set_dropout(model, settings.optimiser.dropout)
    trained: Any = add_adapter(model, lora, settings.seed) if lora else model
    points, plan = fit(
        trained,
        examples,
        method=sft,
        method_settings=sft.Settings(target="best"),
        settings=settings.optimiser,
        seed=settings.seed,
        folder=job.path / "trainer",
        on_step=job.progress,
    )
    keep_logs(job.path)
    whole = merged(trained, folder, lora) if lora else trained
    save_model(job.path / MODEL, whole, tokenizer, like=folder)
    job.write(points, CurvePoint)
    job.metrics |= {"plan": plan.summary(), "examples": {"used": len(examples), "too_long": num_long}}
    publish_model(
        job, method="warmup", seed=settings.seed, num_steps=points[-1].step, template_options=options.as_text()
    )


def _whole(job: Job, folder: Path) -> Path:
    """The folder of the whole model: an adapter is merged into its base first."""
    from hasse.stages.models.merged import save_merged

    if not is_adapter(folder):
        return folder
    save_merged(folder, job.path / MODEL)
    return job.path / MODEL


def _drawn(job: Job, settings: WarmupSettings) -> list[Prompt]:
    """The prompts whose answers are learned, sorted by id. The first ones stay when more are wanted."""
    prompts = lesson_prompts(job)
    wanted = settings.num_examples or len(prompts)
    if len(prompts) < wanted:
        raise InputError(
            f"student.warmup.num_examples: {wanted} answers are wanted, but the split 'pretrain' has {len(prompts)}; "
            "raise prompts.fractions.pretrain, or lower the number"
        )
    ranked = sorted(prompts, key=lambda p: unit_hash("warmup", settings.seed, p.prompt_id))
    return sorted(ranked[:wanted], key=lambda p: p.prompt_id)
