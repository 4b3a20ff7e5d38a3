"""Check that an engine's log-probs agree with those of the training stack, on some of the engine's candidates.

A ranking loss compares log-probs. Where sampler and trainer disagree about them, because of a dtype, a template or a
bug, training learns noise. Differences are in nats per token.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hasse.data.errors import WorkError
from hasse.data.parquet import read_records
from hasse.data.records import Candidate, Prompt
from hasse.data.text import unit_hash
from hasse.pipeline.stage import Job
from hasse.pipeline.store import table_name
from hasse.stages.generate.answers import AnswerSettings, numbered, views_of, views_that_fit
from hasse.stages.models.adapters import base_or_self
from hasse.stages.models.lazy import LazyModel
from hasse.stages.models.model_folders import read_config

NUM_CHECKED = 64
"""Candidates that are checked in a group: those with the smallest hashes."""


def check(job: Job, groups: Sequence[tuple[Any, float]], models: Mapping[str, LazyModel]) -> dict[str, Any]:
    """Group -> {checked, max, mean, by_length}. Raises WorkError for a group whose mean gap exceeds its bound.

    A model with quantised weights is not checked: the training stack does not load such weights.
    """
    summaries = {}
    for group, max_gap in groups:
        if read_config(base_or_self(models[group.model].folder)).get("quantization_config"):
            continue
        views = _views(job, group)
        chosen = _chosen(job, views)
        gaps = _gaps(job, group, views, chosen, models[group.model])
        summaries[group.name] = _summary(gaps, chosen)
        if gaps and summaries[group.name]["mean"] > max_gap:
            raise WorkError(
                f"{job.name}: log-probs of group {group.name} are {summaries[group.name]['mean']:.3g} nats a token off "
                f"those of the training stack, more than max_gap {max_gap:g}; use the same dtype for both, "
                "or raise it"
            )
    return summaries


def _views(job: Job, group: Any) -> dict[str, int]:
    """candidate_id -> number of the view that was asked; empty for a group that rewrites answers."""
    if not isinstance(group, AnswerSettings):
        return {}
    num_views = max((len(views_of(prompt, group)) for prompt in job.input("prompts").records(Prompt)), default=0)
    return {numbered(group, view, k): view for view in range(num_views) for k in range(group.num_samples)}


def _chosen(job: Job, views: Mapping[str, int]) -> list[Candidate]:
    """The candidates to check, among those of the group that have token ids."""
    own = (
        c
        for c in read_records(job.path / f"{table_name(Candidate)}.parquet", Candidate)
        if c.candidate_id in views and c.token_ids
    )
    return sorted(own, key=lambda c: unit_hash("parity", c.prompt_id, c.candidate_id))[:NUM_CHECKED]


def _gaps(job: Job, group: Any, views: Mapping[str, int], chosen: Sequence[Candidate], model: LazyModel) -> list[float]:
    """The difference of each candidate's two log-probs, in nats per token."""
    from hasse.stages.scoring.score_texts import logprobs_of

    wanted = {c.prompt_id for c in chosen}
    prompts = [p for p in job.input("prompts").records(Prompt) if p.prompt_id in wanted]
    asked_views, _ = views_that_fit(prompts, group, model.tokenizer, context=model.context)
    ids = {(prompts[i].prompt_id, view): view_ids for i, view, view_ids in asked_views}
    asked = [(ids[c.prompt_id, views[c.candidate_id]], c.token_ids) for c in chosen]
    sums = logprobs_of(model.loaded.model, asked) if asked else []
    return [abs(own - (c.logprob_sum or 0.0)) / len(c.token_ids) for c, own in zip(chosen, sums, strict=True)]


def _summary(gaps: Sequence[float], chosen: Sequence[Candidate]) -> dict[str, Any]:
    """The gaps in numbers; `by_length` holds the mean gap of answers with fewer than 8, 16, 32, ... tokens."""
    by_length: defaultdict[int, list[float]] = defaultdict(list)
    for gap, candidate in zip(gaps, chosen, strict=True):
        by_length[max(8, 1 << len(candidate.token_ids).bit_length())].append(gap)
    return {
        "checked": len(gaps),
        "max": max(gaps, default=0.0),
        "mean": sum(gaps) / max(len(gaps), 1),
        "by_length": {f"below {bound}": sum(part) / len(part) for bound, part in sorted(by_length.items())},
    }
