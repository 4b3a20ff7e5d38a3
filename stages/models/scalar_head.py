"""Models with a scalar head, of any architecture, by their own forward pass.

Legend: N texts of a batch, L tokens of the longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from hasse.data.errors import InputError
from hasse.data.records import Prompt
from hasse.stages.models.load import SAFELY, context_of, move
from hasse.stages.models.tokens import chat_token_ids, text_token_ids, turns_of

Encoded = dict[str, list[int]]
"""What the tokenizer gives: input_ids, for some models token_type_ids."""

IDS = "input_ids"

CARD = "README.md"
GAP = "gap_reward"
"""PIT's reward model says in its card what it was trained by."""


@dataclass(frozen=True)
class ScalarModel:
    """pad_id: the model's own; a decoder reads its score at the last token that is not this one."""

    model: Any
    tokenizer: Any
    context: int
    pad_id: int | None

    def encode(self, prompt: Prompt, answer: str) -> Encoded:
        """Raises InputError for a conversation where the tokenizer has no chat template."""
        if self.tokenizer.chat_template:
            turns = [*turns_of(prompt.text, prompt.messages), {"role": "assistant", "content": answer}]
            return {IDS: chat_token_ids(self.tokenizer, turns, add_generation_prompt=False)}
        if prompt.messages:
            raise InputError("the prompt is a list of messages but the reward model's tokenizer has no chat template")
        return text_token_ids(self.tokenizer, prompt.text, answer)

    def scores(self, texts: Sequence[Encoded], *, micro_batch_tokens: int) -> list[float | None]:
        """The head's output for each text, in order; None for one that does not fit."""
        lengths = [len(text[IDS]) for text in texts]
        fitting = sorted((i for i, n in enumerate(lengths) if n <= self.context), key=lambda i: (-lengths[i], i))
        found: list[float | None] = [None] * len(texts)
        while fitting:
            size = max(1, micro_batch_tokens // lengths[fitting[0]])
            batch, fitting = fitting[:size], fitting[size:]
            for i, score in zip(batch, self._forward([texts[i] for i in batch]), strict=True):
                found[i] = score
        return found

    def _forward(self, texts: Sequence[Encoded]) -> list[float]:
        pad_id = self.pad_id if self.pad_id is not None else _no_last_token(texts)
        self.model.config.get_text_config().pad_token_id = pad_id
        inputs = {name: _padded([text[name] for text in texts], 0 if name != IDS else pad_id) for name in texts[0]}
        inputs["attention_mask"] = _padded([[1] * len(text[IDS]) for text in texts], 0)
        with torch.inference_mode():
            logits_N1 = self.model(**{name: ids.to(self.model.device) for name, ids in inputs.items()}).logits
        return logits_N1[:, 0].float().tolist()


def load(folder: Path) -> ScalarModel:
    """Raises InputError for a folder without a tokenizer, or whose model has no scalar head that was trained."""
    _refuse_gap_model(folder)
    try:
        labels = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).num_labels
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=_dtype(), output_loading_info=True, **SAFELY
        )
    except (OSError, ValueError, TypeError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} holds no reward model with a tokenizer that can be loaded ({said})") from error
    missing = ", ".join(sorted(report["missing_keys"]))
    if missing or labels != 1:
        what = f"no weights for {missing}" if missing else f"{labels} labels"
        raise InputError(f"{folder} has {what}; a reward model is a sequence classifier with one trained label")
    context = min(context_of(folder), tokenizer.model_max_length)
    pad_id = model.config.get_text_config().pad_token_id
    return ScalarModel(model=move(model).eval(), tokenizer=tokenizer, context=context, pad_id=pad_id)


def _refuse_gap_model(folder: Path) -> None:
    card = folder / CARD
    if card.is_file() and f"Trained by `{GAP}`" in card.read_text(encoding="utf-8", errors="replace"):
        raise InputError(
            f"{folder} is PIT's reward model, which scores an answer against another; a judge scores answers alone. "
            "Take `hasse improve --reward`, or a reward model of another kind"
        )


def _dtype() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def _no_last_token(texts: Sequence[Encoded]) -> int:
    """A padding that no text ends with, so that a model without one of its own reads the last token of all."""
    last = {text[IDS][-1] for text in texts}
    return next(i for i in range(len(last) + 1) if i not in last)


def _padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """[N, L], padded on the right."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
