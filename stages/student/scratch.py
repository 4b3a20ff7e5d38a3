"""A student from scratch: a small Llama, trained on the answers of the split `pretrain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from hasse.data.records import CurvePoint, Prompt
from hasse.data.rendering import comparison_text
from hasse.data.settings import Config, Seed
from hasse.pipeline.stage import Job
from hasse.stages.models.checkpoints import publish_model
from hasse.stages.prompts.question import answer_of
from hasse.stages.student.lessons import lesson_prompts, lessons
from hasse.stages.train.optimiser import OptimiserSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}{{ sep_token }}"


class ScratchSettings(Config):
    """A small Llama with a byte-level BPE tokenizer, trained on the answers of the split `pretrain`."""

    vocab_size: int = Field(default=400, ge=261, description="Tokens; 256 bytes and 4 special ones are always there.")
    hidden_size: int = Field(default=128, ge=8, description="Width of the hidden states.")
    num_layers: int = Field(default=3, ge=1, description="Number of layers.")
    num_heads: int = Field(default=4, ge=1, description="Number of attention heads; divides hidden_size.")
    context_length: int = Field(default=256, ge=16, description="Tokens, prompt and answer together.")
    seed: Seed = Field(default=0, description="Decides the initial weights and the order of the examples.")
    optimiser: OptimiserSettings = OptimiserSettings(steps=480, prompts_per_step=64, learning_rate=2e-3, warmup=0.05)

    @model_validator(mode="after")
    def _heads_divide(self) -> ScratchSettings:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        return self


def train_from_scratch(job: Job, settings: ScratchSettings) -> None:
    """Train tokenizer and model on the `pretrain` answers. Raises InputError if there are no such answers."""
    from hasse.stages.models.load import save_model
    from hasse.stages.train.fit import fit
    from hasse.stages.train.methods import sft
    from hasse.stages.train.trainer_folder import keep_logs

    prompts = lesson_prompts(job)
    tokenizer = make_tokenizer(prompts, settings)
    model = make_model(tokenizer, settings)
    examples, num_long = lessons(prompts, tokenizer, settings.context_length)
    points, plan = fit(
        model,
        examples,
        method=sft,
        method_settings=sft.Settings(target="best"),
        settings=settings.optimiser,
        seed=settings.seed,
        folder=job.path / "trainer",
        on_step=job.progress,
    )
    keep_logs(job.path)
    save_model(job.path / "model", model, tokenizer)
    job.write(points, CurvePoint)
    job.metrics |= {
        "plan": plan.summary(),
        "examples": {"used": len(examples), "too_long": num_long},
        "parameters": model.num_parameters(),
    }
    publish_model(job, method="scratch", seed=settings.seed, num_steps=points[-1].step)


def make_tokenizer(prompts: list[Prompt], settings: ScratchSettings) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer trained on the prompts and answers; its chat template ends a prompt by a separator."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    core = ByteLevelBPETokenizer()
    texts = (text for p in prompts for text in (comparison_text(p.text, p.messages), answer_of(p) or ""))
    specials = ["<pad>", "<s>", "</s>", "<answer>"]
    core.train_from_iterator(texts, settings.vocab_size, special_tokens=specials, show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=core._tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        sep_token="<answer>",
        chat_template=TEMPLATE,
        model_max_length=settings.context_length,
    )


def make_model(tokenizer: Any, settings: ScratchSettings) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from hasse.stages.models.load import to_device

    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.hidden_size * 2,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        max_position_embeddings=settings.context_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return to_device(LlamaForCausalLM(config))
