"""Sampler `vllm`: the model answers in an engine process of its own; keeps token ids and log-probs.

All K answers to a prompt are one request, seeded by (seed, prompt); the seed of the k-th answer is that seed plus k. A
resumed or extended run gives the same samples, up to the rounding that depends on how an engine forms batches.
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
from hasse.stages.models.sample import Sampled
from hasse.stages.models.thinking import num_thinking_tokens, num_tokens_within, split_sample
from hasse.stages.models.vllm_engine import EngineSettings, engine_outputs

RUNS = ("hasse.stages.models.vllm_engine", "hasse.stages.models.vllm_worker")

if TYPE_CHECKING:
    from hasse.stages.models.lazy import LazyModel

NEEDS_MODEL = True


class Settings(AnswerSettings, EngineSettings):
    sampler: Literal["vllm"] = "vllm"
    stop: list[str] = Field(default=[], description="Texts that end an answer; the answer does not contain them.")


def engine(settings: Settings) -> EngineSettings:
    return settings


def num_candidates(settings: Settings) -> int:
    return settings.num_samples


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return settings.prompt == "whole" or bool(prompt.variants)


def sample(prompts: Sequence[Prompt], settings: Settings, model: LazyModel) -> Iterator[list[Candidate]]:
    """`num_samples` candidates for each prompt or variant; one `filtered` candidate for a prompt that does not fit."""
    context = min(model.context, settings.max_model_len or model.context)
    views, refused = views_that_fit(prompts, settings, model.tokenizer, context=context)
    seeds = [row_seed(settings.seed, prompts[i].prompt_id, f"{settings.name}/{j}") for i, j, _ in views]
    ends = end_token_ids(model.tokenizer)
    requests = [(ids, sampling(settings, seed, ends)) for (_, _, ids), seed in zip(views, seeds, strict=True)]
    outputs = engine_outputs(model.folder, settings, requests)
    signature = Signature(model.checkpoint.weights_digest, model.checkpoint.tokenizer_digest)
    rows: list[list[Candidate]] = [[] for _ in prompts]
    for (i, view, ids), seed, output in zip(views, seeds, outputs, strict=True):
        for k, answer in enumerate(output["samples"]):
            candidate_id = numbered(settings, view, k)
            sampled = _sampled(_within_limits(answer, ids, model.tokenizer, settings), ids, model.tokenizer, ends)
            rows[i].append(candidate_of(prompts[i], candidate_id, sampled, seed + k, settings, signature))
    for i, error in refused.items():
        rows[i] = [filtered(prompts[i], error, settings)]
    yield from rows


def sampling(settings: Settings, seed: int, ends: list[int]) -> dict[str, Any]:
    """Arguments of vllm.SamplingParams; `ends` are the token ids that end an answer, which vLLM may not know."""
    return {
        "n": settings.num_samples,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_new_tokens,
        "stop": settings.stop,
        "stop_token_ids": ends,
        "seed": seed,
        "logprobs": 0,
        "skip_special_tokens": True,
    }


def _within_limits(answer: dict[str, Any], prompt: Sequence[int], tokenizer: Any, settings: Settings) -> dict[str, Any]:
    """The engine's answer, cut where its thinking or the answer after it is longer than the settings allow."""
    ids = answer["token_ids"]
    if settings.max_thinking_tokens is None:
        return answer
    limits = {"max_tokens": settings.max_tokens, "max_thinking_tokens": settings.max_thinking_tokens}
    room = num_tokens_within(ids, prompt, tokenizer, **limits)
    if room >= len(ids):
        return answer
    kept = {"token_ids": ids[:room], "logprobs": answer["logprobs"][:room]}
    return {**answer, **kept, "finish_reason": "length", "stop_reason": None}


def _sampled(answer: dict[str, Any], prompt: Sequence[int], tokenizer: Any, ends: list[int]) -> Sampled:
    """The answer; if it ended at a stop string, its text is cut there and its tokens, which go further, are dropped."""
    ids, stop = answer["token_ids"], answer["stop_reason"]
    text = tokenizer.decode(ids[:-1] if ids and ids[-1] in ends else ids, skip_special_tokens=True)
    cut = isinstance(stop, str)
    spoken_text, reasoning = split_sample(text.partition(stop)[0] if cut else text, prompt, tokenizer)
    return Sampled(
        token_ids=() if cut else tuple(answer["token_ids"]),
        logprobs=() if cut else tuple(answer["logprobs"]),
        text=spoken_text,
        finish_reason=answer["finish_reason"],
        reasoning=reasoning,
        num_thinking_tokens=num_thinking_tokens(ids, prompt, tokenizer) if reasoning and not cut else 0,
    )
