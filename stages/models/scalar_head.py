"""Score texts by a model with a scalar head, of any architecture, with the model's own forward pass.

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
from hasse.data.rendering import prompt_as_text, question_turns
from hasse.stages.models.load import SAFELY, context_of, to_device
from hasse.stages.models.tokens import chat_token_ids, text_token_ids, turns_of

Encoded = dict[str, list[int]]
"""The tokenizer's output: input_ids, and for some models token_type_ids."""

IDS = "input_ids"

CARD = "README.md"
GAP = "gap_reward"
"""The training method in the model card of PIT's reward model."""


@dataclass(frozen=True)
class ScalarModel:
    """A loaded model. pad_id: the model's padding token; a decoder reads its score at the last other token."""

    model: Any
    tokenizer: Any
    context: int
    pad_id: int | None

    def encode(self, prompt: Prompt, answer: str) -> Encoded:
        """The token ids of a prompt with an answer. Raises InputError for a conversation without a chat template."""
        if self.tokenizer.chat_template:
            turns = [*turns_of(prompt.text, question_turns(prompt)), {"role": "assistant", "content": answer}]
            return {IDS: chat_token_ids(self.tokenizer, turns, add_generation_prompt=False)}
        if prompt.messages:
            raise InputError("the prompt is a list of messages but the reward model's tokenizer has no chat template")
        return text_token_ids(self.tokenizer, prompt_as_text(prompt), answer)

    def scores(self, texts: Sequence[Encoded], *, micro_batch_tokens: int) -> list[float | None]:
        """The head's output for each text, in order; None for a text that is longer than the context."""
        lengths = [len(text[IDS]) for text in texts]
        left = sorted((i for i, n in enumerate(lengths) if n <= self.context), key=lambda i: (-lengths[i], i))
        scores: list[float | None] = [None] * len(texts)
        while left:
            size = max(1, micro_batch_tokens // lengths[left[0]])
            batch, left = left[:size], left[size:]
            for i, score in zip(batch, self._forward([texts[i] for i in batch]), strict=True):
                scores[i] = score
        return scores

    def _forward(self, texts: Sequence[Encoded]) -> list[float]:
        pad_id = self.pad_id if self.pad_id is not None else _no_last_token(texts)
        self.model.config.get_text_config().pad_token_id = pad_id
        inputs = {name: _padded([text[name] for text in texts], 0 if name != IDS else pad_id) for name in texts[0]}
        inputs["attention_mask"] = _padded([[1] * len(text[IDS]) for text in texts], 0)
        with torch.inference_mode():
            logits_N1 = self.model(**{name: ids.to(self.model.device) for name, ids in inputs.items()}).logits
        return logits_N1[:, 0].float().tolist()


def load(folder: Path) -> ScalarModel:
    """Load a folder. Raises InputError for one without a tokenizer, or whose model has no trained scalar head."""
    _refuse_gap_model(folder)
    try:
        labels = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).num_labels
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=_dtype(), output_loading_info=True, **SAFELY
        )
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} holds no reward model with a tokenizer that can be loaded ({reason})") from error
    missing = ", ".join(sorted(report["missing_keys"]))
    if missing or labels != 1:
        problem = f"no weights for {missing}" if missing else f"{labels} labels"
        raise InputError(f"{folder} has {problem}; a reward model is a sequence classifier with one trained label")
    context = min(context_of(folder), tokenizer.model_max_length)
    pad_id = model.config.get_text_config().pad_token_id
    return ScalarModel(model=to_device(model).eval(), tokenizer=tokenizer, context=context, pad_id=pad_id)


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
    """A padding token that no text ends with, for a model without one: it then reads the score at the last token."""
    last = {text[IDS][-1] for text in texts}
    return next(i for i in range(len(last) + 1) if i not in last)


def _padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """[N, L], padded on the right."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
