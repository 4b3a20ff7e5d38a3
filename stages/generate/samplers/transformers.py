"""Sampler `transformers`: batched, left-padded sampling from a model loaded here; keeps token ids and log-probs.

A sample depends on (seed, prompt, sample number) alone. The noise that picks each token comes from a counter-based
hash and not from a random stream that a batch shares, so a resumed or extended run gives the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from hasse.data.records import Candidate, Prompt
from hasse.data.settings import unkeyed
from hasse.stages.generate.answers import AnswerSettings, candidate_of, filtered, numbered, row_seed, views_that_fit
from hasse.stages.models.sample import generate

if TYPE_CHECKING:
    from hasse.stages.models.lazy import LoadedModel

NEEDS_MODEL = True


class Settings(AnswerSettings):
    sampler: Literal["transformers"] = "transformers"
    batch_size: int = unkeyed(256, ge=1, description="Sequences in a batch; it only affects memory and speed.")


def num_candidates(settings: Settings) -> int:
    return settings.num_samples


def has_work(prompt: Prompt, settings: Settings) -> bool:
    return settings.prompt == "whole" or bool(prompt.variants)


def sample(prompts: Sequence[Prompt], settings: Settings, model: LoadedModel) -> Iterator[list[Candidate]]:
    """`num_samples` candidates for each prompt or variant; one `filtered` candidate for a prompt that does not fit."""
    from hasse.stages.models.load import context_length

    views, refused = views_that_fit(prompts, settings, model.tokenizer, context=context_length(model.model))
    work = []
    for i, view, ids in views:
        for k in range(settings.num_samples):
            candidate_id = numbered(settings, view, k)
            work.append((i, candidate_id, ids, row_seed(settings.seed, prompts[i].prompt_id, candidate_id)))
    samples = generate(
        model.model,
        model.tokenizer,
        [ids for _, _, ids, _ in work],
        [seed for _, _, _, seed in work],
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        max_thinking_tokens=settings.max_thinking_tokens,
        batch_size=settings.batch_size,
    )
    rows: list[list[Candidate]] = [[] for _ in prompts]
    for (i, candidate_id, _, seed), sampled in zip(work, samples, strict=True):
        rows[i].append(candidate_of(prompts[i], candidate_id, sampled, seed, settings, model))
    for i, error in refused.items():
        rows[i] = [filtered(prompts[i], error, settings)]
    yield from rows
