"""Sample from a model of the transformers library. Each answer has its own seed and does not depend on its batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hasse.stages.models.end_tokens import end_token_ids
from hasse.stages.models.shared_prefill import prefill
from hasse.stages.models.thinking import num_thinking_tokens, num_tokens_within, split_sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sampled answer.

    token_ids: with the thinking, and with EOS when finish_reason is "stop"; empty where the text was cut. logprobs: of
    the model itself, in nats, one per token. text: the answer only. reasoning: the thinking before the answer, if any.
    num_thinking_tokens: how many of the tokens are thinking.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str
    reasoning: str | None = None
    num_thinking_tokens: int = 0

    @property
    def num_answer_tokens(self) -> int:
        return len(self.token_ids) - self.num_thinking_tokens

    @property
    def has_no_answer(self) -> bool:
        """Whether the model thought and then gave no answer."""
        return self.reasoning is not None and not self.text


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    temperature: float,
    top_p: float,
    max_tokens: int,
    batch_size: int,
    max_thinking_tokens: int | None = None,
) -> list[Sampled]:
    """One answer for each prompt (token ids), in order. Prompts of similar length share a batch.

    max_thinking_tokens: the most tokens of thinking; `max_tokens` is then the limit of the answer alone.
    """
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    results: list[Sampled | None] = [None] * len(prompts)
    for start in range(0, len(by_length), batch_size):
        indices = by_length[start : start + batch_size]
        batch = _generate_batch(
            model,
            tokenizer,
            [prompts[i] for i in indices],
            [seeds[i] for i in indices],
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            max_thinking_tokens=max_thinking_tokens,
        )
        for i, sampled in zip(indices, batch, strict=True):
            results[i] = sampled
    return [sampled for sampled in results if sampled is not None]


def greedy(
    model: Any, tokenizer: Any, texts: Sequence[str], *, max_tokens: int, batch_size: int
) -> list[Sampled | None]:
    """The most likely answer to each text, token by token; None where the text does not fit into the context."""
    return sampled_texts(
        model, tokenizer, texts, [0] * len(texts), temperature=0.0, max_tokens=max_tokens, batch_size=batch_size
    )


def sampled_texts(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    seeds: Sequence[int],
    *,
    temperature: float,
    max_tokens: int,
    batch_size: int,
) -> list[Sampled | None]:
    """An answer to each text; None where the text does not fit into the context."""
    from hasse.stages.models.load import context_length
    from hasse.stages.models.tokens import prompt_token_ids

    ids = [prompt_token_ids(tokenizer, text) for text in texts]
    room = context_length(model) - max_tokens
    short_enough = [i for i in ids if len(i) <= room]
    answers = iter(
        generate(
            model,
            tokenizer,
            short_enough,
            [seed for seed, i in zip(seeds, ids, strict=True) if len(i) <= room],
            temperature=temperature,
            top_p=1.0,
            max_tokens=max_tokens,
            batch_size=batch_size,
        )
    )
    return [next(answers) if len(i) <= room else None for i in ids]


def gumbel_noise(seed_N: Tensor, position: int, size: int) -> Tensor:
    """Standard Gumbel noise, [N, size] float32: a hash (splitmix64's finaliser) of seed, position and token id."""
    import torch

    token_V = torch.arange(size, device=seed_N.device)
    state_NV = seed_N[:, None] + (position * size + token_V)[None] * -7046029254386353131
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        state_NV = (state_NV ^ _shift_right(state_NV, shift)) * factor
    bits_NV = _shift_right(state_NV ^ _shift_right(state_NV, 31), 11)
    uniform_NV = (bits_NV.double() + 0.5) * 2.0**-53
    return -torch.log(-torch.log(uniform_NV)).float()


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift x as an unsigned 64-bit number."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _generate_batch(
    model: Any,
    tokenizer: Any,
    prompts: list[Sequence[int]],
    seeds: list[int],
    *,
    temperature: float,
    top_p: float,
    max_tokens: int,
    max_thinking_tokens: int | None,
) -> list[Sampled]:
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    input_ids, mask, cache = prefill(model, prompts, tokenizer.pad_token_id)
    recorder = _TokenLogprobs(input_ids.shape[1])
    processors = LogitsProcessorList([recorder, *_choice(seeds, temperature, top_p, input_ids)])
    ends = end_token_ids(tokenizer, model)
    config = GenerationConfig(
        max_new_tokens=max_tokens + (max_thinking_tokens or 0),
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
    )
    with torch.inference_mode(), _generation_config(model, config):
        output = model.generate(
            input_ids=input_ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=processors,
            **({} if cache is None else {"past_key_values": cache}),
        )
    new_ids = output[:, input_ids.shape[1] :]
    logprobs = recorder.finish(output)
    limits = None if max_thinking_tokens is None else (max_tokens, max_thinking_tokens)
    return [
        _cut(ids, values, ends, asked, tokenizer, limits)
        for ids, values, asked in zip(new_ids.tolist(), logprobs.tolist(), prompts, strict=True)
    ]


@contextmanager
def _generation_config(model: Any, config: Any) -> Iterator[None]:
    """Replace the model's generation settings within the context, since they would fill in what `config` leaves out."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def _choice(seeds: list[int], temperature: float, top_p: float, input_ids: Tensor) -> list[Any]:
    """Logits processors after which the arg max is a sample (Gumbel-max); none for greedy decoding."""
    import torch
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    if temperature == 0:
        return []
    seed_N = torch.tensor(seeds, device=input_ids.device)
    truncation = [TopPLogitsWarper(top_p)] if top_p < 1 else []
    return [TemperatureLogitsWarper(temperature), *truncation, _Gumbel(seed_N, input_ids.shape[1])]


class _Gumbel:
    def __init__(self, seed_N: Tensor, prompt_width: int):
        self.seed_N, self.prompt_width = seed_N, prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        position = input_ids.shape[1] - self.prompt_width
        return scores.float() + gumbel_noise(self.seed_N, position, scores.shape[1])


class _TokenLogprobs:
    """Keeps the log-prob of each chosen token. It holds the distribution of a step until the token is known."""

    def __init__(self, prompt_width: int):
        self.prompt_width = prompt_width
        self.last: Tensor | None = None
        self.kept: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._keep(input_ids)
        self.last = scores.float().log_softmax(dim=-1)
        return scores

    def finish(self, sequences: Tensor) -> Tensor:
        """The log-probs of all chosen tokens, [N, new tokens]."""
        import torch

        self._keep(sequences)
        return torch.stack(self.kept, dim=1)

    def _keep(self, input_ids: Tensor) -> None:
        if self.last is not None:
            self.kept.append(self.last.gather(1, input_ids[:, -1:])[:, 0])


def _cut(
    ids: list[int],
    logprobs: list[float],
    ends: list[int],
    prompt: Sequence[int],
    tokenizer: Any,
    limits: tuple[int, int] | None,
) -> Sampled:
    """The answer in a row of the batch, up to its end token. limits: (max_tokens, max_thinking_tokens)."""
    end = next((i for i, token in enumerate(ids) if token in ends), None)
    ids = ids if end is None else ids[: end + 1]
    if limits:
        room = num_tokens_within(ids, prompt, tokenizer, max_tokens=limits[0], max_thinking_tokens=limits[1])
        ids, end = (ids[:room], None) if room < len(ids) else (ids, end)
    text = tokenizer.decode(ids if end is None else ids[:-1], skip_special_tokens=True)
    answer, reasoning = split_sample(text, prompt, tokenizer)
    return Sampled(
        token_ids=tuple(ids),
        logprobs=tuple(logprobs[: len(ids)]),
        text=answer,
        finish_reason="length" if end is None else "stop",
        reasoning=reasoning,
        num_thinking_tokens=num_thinking_tokens(ids, prompt, tokenizer) if reasoning else 0,
    )
