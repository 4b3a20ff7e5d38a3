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
from hasse.stages.models.adapters import base_of, base_or_self, read_base
from hasse.stages.models.end_tokens import end_token_ids, keep_special_tokens, remember_ends, trained_end_id
from hasse.stages.models.model_folders import check_causal, check_weights, has_tokenizer, is_adapter
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

    `ends_from`: the folder whose files name the tokens that end an answer; left out: the folder itself, or an adapter's
    base. A tokenizer without a padding token pads with its end token; padding is masked by lengths, never by token id.
    """
    ends_from = ends_from or base_or_self(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder if has_tokenizer(folder) else ends_from, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder} has no tokenizer that can be loaded; save it beside the weights with "
            f"tokenizer.save_pretrained ({_first_line(error)})"
        ) from error
    remember_ends(tokenizer, ends_from)
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


def load_model(
    folder: Path, *, dtype: torch.dtype | None = None, beside: Any = None, quantisation: Any = None
) -> PreTrainedModel:
    """The folder's causal language model, in evaluation mode, on this machine's device; an adapter with its base.

    dtype: None means bfloat16 on CUDA and float32 elsewhere. beside: a loaded model that is only used as it is; where
    both stand on the same base, its weights are held once. quantisation: transformers' settings for loading a whole
    model. Raises InputError when the folder holds no model.
    """
    dtype = dtype or default_dtype()
    if is_adapter(folder):
        return adapted(load_model(base_of(folder), dtype=dtype, beside=beside), folder)
    if beside is not None:
        from hasse.stages.models.adapter_weights import same_weights, stands_on

        if stands_on(beside, folder, dtype):
            return same_weights(beside).eval()
    check_causal(folder)
    check_weights(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, **_how(dtype, quantisation))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no model that can be loaded ({_first_line(error)})") from error
    return to_device(model).eval()


def default_dtype() -> torch.dtype:
    """The type of weights that are not trained."""
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def adapted(base: Any, folder: Path, *, is_trainable: bool = False) -> Any:
    """The base with the folder's adapter, frozen unless `is_trainable`, in evaluation mode."""
    from hasse.stages.models.adapter_weights import with_adapter

    grow_embeddings(base, folder)
    return with_adapter(base, folder, is_trainable=is_trainable)


def grow_embeddings(base: Any, folder: Path) -> None:
    """Add embeddings to the base for tokens that only the adapter's tokenizer has.

    An adapter that was trained here has as many as it began with.
    """
    from hasse.stages.models.adapter_weights import num_embeddings

    num_tokens = num_embeddings(folder) or 0
    if read_base(folder) is None and has_tokenizer(folder):
        num_tokens = max(num_tokens, len(load_tokenizer(folder)))
    if num_tokens > base.get_input_embeddings().weight.shape[0]:
        base.resize_token_embeddings(num_tokens)


def check_vocabulary(folder: Path) -> None:
    """Raises InputError for a model that transformers does not know, or whose tokenizer has more tokens than the model.

    Added tokens beyond the embeddings are accepted as long as no conversation needs them.
    """
    from hasse.stages.models.tokens import completion_token_ids, prompt_token_ids

    tokenizer: Any = load_tokenizer(folder)
    try:
        config: Any = AutoConfig.from_pretrained(base_or_self(folder), local_files_only=True, trust_remote_code=False)
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
    if known is not None and highest >= known and not is_adapter(folder):  # an adapter's own tokens get embeddings
        raise InputError(
            f"the tokenizer in {folder} has a token with the id {highest}, but the model has {known} embeddings; "
            "tokenizer and model are of different models"
        )


def load_reward_model(
    folder: Path,
    *,
    from_body: bool = False,
    dtype: torch.dtype | None = None,
    beside: Any = None,
    quantisation: Any = None,
) -> PreTrainedModel:
    """The folder's model with a scalar head, in evaluation mode; an adapter with its base.

    from_body: put a new head of zeros on a language model. dtype: None means float32 for a whole model, and that of
    `load_model` for an adapter. beside, quantisation: as for `load_model`; the body's weights are held once.
    """
    if is_adapter(folder):
        from hasse.stages.models.adapter_weights import with_adapter

        dtype = dtype or default_dtype()
        body = load_reward_model(base_of(folder), from_body=True, dtype=dtype, beside=beside)
        model = with_adapter(body, folder)
        model.get_base_model().score.to(dtype)  # type: ignore[union-attr]  it is a module
        return model
    dtype = dtype or torch.float32
    if from_body and beside is not None:
        return with_score(load_model(folder, dtype=dtype, beside=beside))
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, **_how(dtype, quantisation))
    if from_body:
        torch.nn.init.zeros_(model.score.weight)
    return to_device(model).eval()


def with_score(causal: Any) -> Any:
    """The body of a causal language model under a scalar head of zeros."""
    with torch.device("meta"):
        config = causal.config.__class__(**{**causal.config.to_dict(), "num_labels": 1})
        model: Any = AutoModelForSequenceClassification.from_config(config, dtype=causal.dtype)
    model.score = torch.nn.Linear(model.score.in_features, 1, bias=False, dtype=causal.dtype, device=causal.device)
    torch.nn.init.zeros_(model.score.weight)
    setattr(model, model.base_model_prefix, causal.base_model)
    model.name_or_path = causal.name_or_path
    return model.eval()


def _how(dtype: torch.dtype, quantisation: Any) -> dict[str, Any]:
    if quantisation is None:
        return {"dtype": dtype, **SAFELY}
    return {"dtype": dtype, "quantization_config": quantisation, "device_map": {"": device()}, **SAFELY}


def to_device(model: Any) -> Any:
    """Move a model to this machine's device. A quantised model is loaded there."""
    return model if getattr(model, "is_quantized", False) else model.to(device())


def save_model(folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase, *, like: Path | None = None) -> None:
    """Save the weights as safetensors, with the tokenizer and its chat template.

    `like`: the folder from which the model came. The special tokens in its config and generation settings are restored,
    since trainers replace some of them by the tokenizer's.
    """
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    if like is not None:
        keep_special_tokens(like, folder)


def save_adapter(folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase, *, base: Path) -> None:
    """Save a PeftModel's adapter as safetensors, with the tokenizer, and without the weights of its base.

    Embeddings are saved only where the base has fewer of them.
    """
    config: Any = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    grown = model.get_input_embeddings().weight.shape[0] > config.get_text_config().vocab_size
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=grown)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
    tokenizer.save_pretrained(folder)


def context_length(model: PreTrainedModel) -> int:
    """The most tokens of prompt and answer together, for a loaded model."""
    return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)


def context_of(folder: Path) -> int:
    """The most tokens of prompt and answer together, from the config of a folder."""
    whole = base_or_self(folder)
    config = AutoConfig.from_pretrained(whole, local_files_only=True, trust_remote_code=False).get_text_config()
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
