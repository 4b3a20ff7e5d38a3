"""REINFORCE with a leave-one-out baseline, by TRL's trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from hasse.data.template import fill
from hasse.stages.models.end_tokens import end_token_ids
from hasse.stages.models.load import set_dropout
from hasse.stages.models.tokens import prompt_token_ids
from hasse.stages.train.fit import StepReport
from hasse.stages.train.tracking import TrackingSettings, tracked
from hasse.stages.train.trainer import epochs_of
from hasse.stages.train.whole_checkpoints import last_checkpoint

if TYPE_CHECKING:
    from hasse.stages.train.methods.pit import RlSettings

TRL_REFERENCE = "ref"
"""The copy of an adapter that TRL makes for its own penalty, which is not used here."""
Reference = tuple[str, str]
"""(prompt, answer that is to be improved)"""


class PromptTrainer(RLOOTrainer):
    """TRL's trainer with this project's tokenisation of prompts.

    TRL's own would read control tokens in the text of a prompt, and put today's date into some chat templates.
    """

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        texts = [prompt if isinstance(prompt, str) else prompt[0]["content"] for prompt in prompts]
        return [prompt_token_ids(self.processing_class, text) for text in texts], None, {}


def reinforce(
    model: Any,
    reward: Any,
    references: Sequence[Reference],
    *,
    tokenizer: Any,
    template: str,
    settings: RlSettings,
    seed: int,
    folder: Path,
    on_step: Callable[[int, int], None],
    tracking: TrackingSettings | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place, resuming from the last whole checkpoint in `folder`, and return the trainer's log.

    The order of the references is fixed before the first step, with a new permutation for each epoch. TRL's own sampler
    would repeat the order of the first epoch when a run resumes in a later epoch. Dropout is off, because the clipped
    ratio and the penalty compare log-probs of the same network.
    """
    tracking = tracking or TrackingSettings()
    set_dropout(model, 0.0)
    model.generation_config.eos_token_id = end_token_ids(tokenizer, model)
    order = epochs_of(len(references), settings.steps * settings.prompts_per_step, seed)
    trainer = PromptTrainer(
        model=model,
        reward_funcs=reward,
        args=_arguments(settings, tracking, seed, folder),
        train_dataset=Dataset.from_list([_row(*references[int(i)], tokenizer, template) for i in order]),
        processing_class=tokenizer,
        callbacks=[StepReport(on_step)],
    )
    trainer.remove_callback(PrinterCallback)
    if TRL_REFERENCE in getattr(model, "peft_config", {}):
        model.delete_adapter(TRL_REFERENCE)
    with tracked(tracking):
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    return trainer.state.log_history


def _row(x: str, y_ref: str, tokenizer: Any, template: str) -> dict[str, Any]:
    text = fill(template, {"prompt": x, "reference": y_ref})
    return {"prompt": [{"role": "user", "content": text}] if tokenizer.chat_template else text, "x": x, "y_ref": y_ref}


def _arguments(rl: RlSettings, tracking: TrackingSettings, seed: int, folder: Path) -> RLOOConfig:
    cuda = torch.cuda.is_available()
    return RLOOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=rl.answers_per_pass,
        gradient_accumulation_steps=rl.num_answers // rl.answers_per_pass,
        num_generations=rl.num_generations,
        max_completion_length=rl.max_tokens,
        temperature=rl.temperature,
        max_steps=rl.steps,
        learning_rate=rl.learning_rate,
        lr_scheduler_type="constant",
        beta=0.0,
        epsilon=rl.clip,
        seed=seed,
        bf16=cuda,
        use_cpu=not cuda,
        gradient_checkpointing=rl.gradient_checkpointing,
        logging_steps=1,
        save_steps=rl.save_steps,
        shuffle_dataset=False,
        save_total_limit=2,
        **tracking.arguments(),
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
