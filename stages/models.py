"""Models and tokenizers: found by a hub name or in a folder, checked, loaded, saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from data.errors import InputError
from data.records import Completion, TrainingExample
from stages.launch import is_sharded


def device() -> torch.device:
    """Where a model lies; one that is to be sharded on the CPU, since no device has to hold it whole."""
    return torch.device("cuda" if torch.cuda.is_available() and not is_sharded() else "cpu")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer. Raises InputError when it has none, or one without an end-of-sequence token.

    A tokenizer without a padding token pads with its end token: padding is masked by lengths, never by token id.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder} has no tokenizer that can be loaded; save it beside the weights with "
            f"tokenizer.save_pretrained ({_first_line(error)})"
        ) from error
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer in {folder} has no end-of-sequence token, so no answer could end; "
            "set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(folder: Path, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The folder's causal language model, in evaluation mode, on this machine's device.

    `dtype`: None takes bfloat16 on CUDA and float32 elsewhere. Raises InputError when the folder holds no model.
    """
    dtype = dtype or (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no model that can be loaded ({_first_line(error)})") from error
    return move(model).eval()


def load_reward_model(folder: Path, *, from_body: bool = False) -> PreTrainedModel:
    """The folder's model with a scalar head, float32; `from_body`: a new head, all zeros, on a language model."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, local_files_only=True
    )
    if from_body:
        torch.nn.init.zeros_(model.score.weight)
    return move(model).eval()


def move(model: Any) -> Any:
    """To this machine's device."""
    return model.to(device())


def save_model(folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Weights as safetensors, with the tokenizer and its chat template."""
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def context_length(model: PreTrainedModel) -> int:
    """Tokens that fit, prompt and answer together."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)


def context_of(folder: Path) -> int:
    """The same for a model that is not loaded."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    return int(getattr(config, "max_position_embeddings", 0) or 1 << 30)


def logprobs_of(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, micro_batch_tokens: int = 16384
) -> list[float]:
    """Summed log-prob of each completion after its prompt, both as token ids, nats, in order."""
    return _scored(model, pairs, micro_batch_tokens, is_reward=False)


def rewards_of(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, micro_batch_tokens: int = 16384
) -> list[float]:
    """What a model with a scalar head says of each completion after its prompt, in order."""
    return _scored(model, pairs, micro_batch_tokens, is_reward=True)


def _scored(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], micro_batch_tokens: int, *, is_reward: bool
) -> list[float]:
    """Equal prompts share their copy, whatever the order in which they come."""
    from stages.batch import collate
    from stages.forward import choose_layout, group_of, in_passes, prepared, sequence_logps, sequence_rewards

    places: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, _) in enumerate(pairs):
        places.setdefault(tuple(prompt), []).append(place)
    examples = [_unordered(prompt, [pairs[i][1] for i in members]) for prompt, members in places.items()]
    layout, _ = choose_layout(model, examples)
    found: dict[int, float] = {}
    with torch.inference_mode(), prepared(model, layout):
        for members in in_passes([group_of(example) for example in examples], layout, micro_batch_tokens):
            batch = collate([examples[i] for i in members]).to(model.device)
            if is_reward:
                values = sequence_rewards(model, batch, layout).reward_N
            else:
                values = sequence_logps(model, batch, layout).sum_N
            asked = [place for i in members for place in places[examples[i].prompt_token_ids]]
            found |= dict(zip(asked, values.tolist(), strict=True))
    return [found[place] for place in range(len(pairs))]


def _unordered(prompt: tuple[int, ...], completions: list[Sequence[int]]) -> TrainingExample:
    return TrainingExample(
        prompt_id="",
        cluster_id="",
        prompt_token_ids=prompt,
        completions=tuple(Completion(candidate_id="", token_ids=tuple(ids), source="") for ids in completions),
    )


def set_dropout(model: torch.nn.Module, rate: float) -> None:
    """One dropout rate everywhere: in the modules, and where attention reads it from the config."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = rate  # type: ignore[assignment]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
