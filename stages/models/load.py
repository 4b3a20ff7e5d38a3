"""Models and tokenizers: found by a hub name or in a folder, checked, loaded, saved."""

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
"""No network, no pickle, no code from a model's folder, and no question on standard input about such code."""
LAYER_DROP = "layerdrop"
"""The rate by which a few architectures leave out whole layers in training."""


def device() -> torch.device:
    """Where a model lies; one that is to be sharded on the CPU, since no device has to hold it whole."""
    return torch.device("cuda" if torch.cuda.is_available() and not is_sharded() else "cpu")


def load_tokenizer(folder: Path, *, ends_from: Path | None = None) -> PreTrainedTokenizerBase:
    """The folder's tokenizer. Raises InputError when it has none, or when no file names an end-of-sequence token.

    `ends_from`: the folder whose files name the tokens that end an answer, where the weights lie elsewhere.
    A tokenizer without a padding token pads with its end token: padding is masked by lengths, never by token id.
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

    `dtype`: None takes bfloat16 on CUDA and float32 elsewhere. Raises InputError when the folder holds no model.
    """
    check_causal(folder)
    check_weights(folder)
    dtype = dtype or (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **SAFELY)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no model that can be loaded ({_first_line(error)})") from error
    return move(model).eval()


def check_vocabulary(folder: Path) -> None:
    """Raises InputError for a model that this library does not know, or whose tokenizer has tokens that it lacks.

    An added token beyond the embeddings may stand in a vocabulary as long as no conversation needs it.
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
    """The folder's model with a scalar head, float32; `from_body`: a new head, all zeros, on a language model."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32, **SAFELY)
    if from_body:
        torch.nn.init.zeros_(model.score.weight)
    return move(model).eval()


def move(model: Any) -> Any:
    """To this machine's device."""
    return model.to(device())


def save_model(folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase, *, like: Path | None = None) -> None:
    """Weights as safetensors, with the tokenizer and its chat template.

    `like`: the folder from which the model came. What its config and generation settings say of special tokens is
    written back as it was: trainers set some of these to the tokenizer's.
    """
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    if like is not None:
        keep_special_tokens(like, folder)


def context_length(model: PreTrainedModel) -> int:
    """Tokens that fit, prompt and answer together."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)


def context_of(folder: Path) -> int:
    """The same for a model that is not loaded."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
    return int(getattr(config, "max_position_embeddings", 0) or 1 << 30)


def set_dropout(model: torch.nn.Module, rate: float) -> None:
    """One dropout rate everywhere: in dropout modules, and in layers that keep a rate as a number. No layer drop."""
    for module, name in _dropout_rates(model):
        setattr(module, name, 0.0 if name == LAYER_DROP else rate)


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether two forward passes in training mode may differ."""
    return any(getattr(module, name) > 0 for module, name in _dropout_rates(model))


def _dropout_rates(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str]]:
    """(module, name of the attribute that holds the rate)"""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            yield module, "p"
        for name, value in vars(module).items():
            if ("dropout" in name or name == LAYER_DROP) and isinstance(value, float):
                yield module, name


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
