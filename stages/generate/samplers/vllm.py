"""Sampler `vllm`: the model answers in an engine process of its own; token ids in and out, log-probs kept.

All K answers to a prompt are one request, seeded by (seed, prompt), the k-th by that plus k; so a resumed or extended
run gives the same samples, up to what an engine's batching does to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hasse.data.records import Candidate, Prompt
from hasse.stages.generate.answers import (
    AnswerSettings,
    Signature,
    candidate_of,
    filtered,
    numbered,
    row_seed,
    views_that_fit,
)
from hasse.stages.models.end_tokens import end_token_ids
from hasse.stages.models.sample import Sampled, spoken
from hasse.stages.models.vllm_engine import EngineSettings, pool

RUNS = ("hasse.stages.models.vllm_engine", "hasse.stages.models.vllm_worker")

if TYPE_CHECKING:
    from hasse.stages.models.lazy import LazyModel

NEEDS_MODEL = True


class Settings(AnswerSettings, EngineSettings):
    sampler: Literal["vllm"] = "vllm"
    stop: list[str] = Field(default=[], description="Texts that end an answer; they do not stand in it.")


def engine(settings: Settings) -> EngineSettings:
    return settings


def num_candidates(settings: Settings) -> int:
    return settings.num_samples


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return settings.prompt == "whole" or bool(prompt.variants)


def sample(prompts: Sequence[Prompt], settings: Settings, model: LazyModel) -> Iterator[list[Candidate]]:
    """`num_samples` candidates a prompt (or variant). A prompt that does not fit gives one row with status filtered."""
    context = min(model.context, settings.max_model_len or model.context)
    fitting, refused = views_that_fit(prompts, settings, model.tokenizer, context=context)
    seeds = [row_seed(settings.seed, prompts[i].prompt_id, f"{settings.name}/{j}") for i, j, _ in fitting]
    ends = end_token_ids(model.tokenizer)
    requests = [(ids, sampling(settings, seed, ends)) for (_, _, ids), seed in zip(fitting, seeds, strict=True)]
    outputs = pool(model.folder, settings).outputs(requests)
    signature = Signature(model.checkpoint.weights_digest, model.checkpoint.tokenizer_digest)
    rows: list[list[Candidate]] = [[] for _ in prompts]
    for (i, view, ids), seed, output in zip(fitting, seeds, outputs, strict=True):
        for k, answer in enumerate(output["samples"]):
            candidate_id = numbered(settings, view, k)
            found = _sampled(answer, ids, model.tokenizer, ends)
            rows[i].append(candidate_of(prompts[i], candidate_id, found, seed + k, settings, signature))
    for i, error in refused.items():
        rows[i] = [filtered(prompts[i], error, settings)]
    yield from rows


def sampling(settings: Settings, seed: int, ends: list[int]) -> dict[str, Any]:
    """Arguments of vllm.SamplingParams; `ends`: token ids that end an answer, which vLLM may not know by itself."""
    return {
        "n": settings.num_samples,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_tokens,
        "stop": settings.stop,
        "stop_token_ids": ends,
        "seed": seed,
        "logprobs": 0,
        "skip_special_tokens": True,
    }


def _sampled(answer: dict[str, Any], prompt: Sequence[int], tokenizer: Any, ends: list[int]) -> Sampled:
    """A text that ended at a stop string is cut there, so its tokens are not those of the text: it is kept as text."""
    ids, stop = answer["token_ids"], answer["stop_reason"]
    text = tokenizer.decode(ids[:-1] if ids and ids[-1] in ends else ids, skip_special_tokens=True)
    cut = isinstance(stop, str)
    said, reasoning = spoken(text.partition(stop)[0] if cut else text, prompt, tokenizer)
    return Sampled(
        token_ids=() if cut else tuple(answer["token_ids"]),
        logprobs=() if cut else tuple(answer["logprobs"]),
        text=said,
        finish_reason=answer["finish_reason"],
        reasoning=reasoning,
    )
