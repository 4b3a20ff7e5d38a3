"""Load, check and save models and tokenizers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hasse.data.errors import InputError
from hasse.stages.models.end_tokens import end_token_ids, keep_special_tokens, remember_ends, trained_end_id
from hasse.stages.models.model_folders import check_causal, check_weights
from hasse.stages.models.this_process import is_sharded

SAFELY = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
"""Use no network, no pickle, and no code from a model's folder, and do not ask on standard input about such code."""
LAYER_DROP = "layerdrop"
"""The rate at which a few architectures skip whole layers in training."""


def device() -> torch.device:
    """The device for models. A model that will be sharded is loaded on the CPU, since one device may be too small."""
    return torch.device("cuda" if torch.cuda.is_available() and not is_sharded() else "cpu")


def load_tokenizer(folder: Path, *, ends_from: Path | None = None) -> PreTrainedTokenizerBase:
    """The folder's tokenizer. Raises InputError when there is none, or when no file names an end-of-sequence token.

    `ends_from`: the folder whose files name the tokens that end an answer, if it is another folder. A tokenizer without
    a padding token pads with its end token; padding is masked by lengths, never by token id.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder} has no tokenizer that can be loaded; save it beside the weights with "
            f"tokenizer.save_pretrained ({_first_line(error)})"
        ) from error
    remember_ends(tokenizer, ends_from or folder)
    if not end_token_ids(tokenizer):
        raise InputError(
            f"the model in {folder} names no end-of-sequence token, so no answer could end; set eos_token in its "
            "tokenizer_config.json, or eos_token_id in its generation_config.json"
        )
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(trained_end_id(tokenizer))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(folder: Path, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The folder's causal language model, in evaluation mode, on this machine's device.

    `dtype`: None means bfloat16 on CUDA and float32 elsewhere. Raises InputError when the folder holds no model.
    """
    check_causal(folder)
    check_weights(folder)
    dtype = dtype or (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **SAFELY)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no model that can be loaded ({_first_line(error)})") from error
    return to_device(model).eval()


def check_vocabulary(folder: Path) -> None:
    """Raises InputError for a model that transformers does not know, or whose tokenizer has more tokens than the model.

    Added tokens beyond the embeddings are accepted as long as no conversation needs them.
    """
    from hasse.stages.models.tokens import completion_token_ids, prompt_token_ids

    tokenizer: Any = load_tokenizer(folder)
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} holds a model that transformers does not know without code of the model's own, which is not "
            f"run ({_first_line(error)})"
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(f"{folder} holds a model of type {config.model_type}, which is no causal language model")
    known = getattr(config.get_text_config(), "vocab_size", None)
    added = tokenizer.get_added_vocab()
    used = [*prompt_token_ids(tokenizer, "Text"), *completion_token_ids(tokenizer, "Text")]
    highest = max([i for token, i in tokenizer.get_vocab().items() if token not in added] + used)
    if known is not None and highest >= known:
        raise InputError(
            f"the tokenizer in {folder} has a token with the id {highest}, but the model has {known} embeddings; "
            "tokenizer and model are of different models"
        )


def load_reward_model(folder: Path, *, from_body: bool = False) -> PreTrainedModel:
    """The folder's model with a scalar head, in float32. `from_body`: put a new head of zeros on a language model."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32, **SAFELY)
    if from_body:
        torch.nn.init.zeros_(model.score.weight)
    return to_device(model).eval()


def to_device(model: Any) -> Any:
    """Move a model to this machine's device."""
    return model.to(device())


def save_model(folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase, *, like: Path | None = None) -> None:
    """Save the weights as safetensors, with the tokenizer and its chat template.

    `like`: the folder from which the model came. The special tokens in its config and generation settings are restored,
    since trainers replace some of them by the tokenizer's.
    """
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    if like is not None:
        keep_special_tokens(like, folder)


def context_length(model: PreTrainedModel) -> int:
    """The most tokens of prompt and answer together, for a loaded model."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)


def context_of(folder: Path) -> int:
    """The most tokens of prompt and answer together, from the config of a folder."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
    return int(getattr(config, "max_position_embeddings", 0) or 1 << 30)


def set_dropout(model: torch.nn.Module, rate: float) -> None:
    """Set one rate in all dropout modules and in all layers that store a dropout rate; switch layer drop off."""
    for module, name in _dropout_rates(model):
        setattr(module, name, 0.0 if name == LAYER_DROP else rate)


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether any dropout rate is above 0, so that two forward passes in training mode may differ."""
    return any(getattr(module, name) > 0 for module, name in _dropout_rates(model))


def _dropout_rates(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str]]:
    """(module, name of the attribute with the dropout rate) for each rate in the model."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            yield module, "p"
        for name, value in vars(module).items():
            if ("dropout" in name or name == LAYER_DROP) and isinstance(value, float):
                yield module, name


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
