"""Whether an engine's log-probs are those of the training stack, on some of the candidates that it made.

A ranking loss compares log-probs; where sampler and trainer disagree about them, by a dtype, a template or a bug, what
is learned is noise. Differences are in nats a token.
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
from hasse.stages.models.lazy import LazyModel

CHECKED = 64
"""Candidates of a group: those of the smallest hash."""


def check(job: Job, groups: Sequence[tuple[Any, float]], models: Mapping[str, LazyModel]) -> dict[str, Any]:
    """Group -> {checked, max, mean, by_length}. Raises WorkError where a group's mean passes its largest gap."""
    found = {}
    for group, max_gap in groups:
        views = _views(job, group)
        chosen = _chosen(job, views)
        gaps = _gaps(job, group, views, chosen, models[group.model])
        found[group.name] = _summary(gaps, chosen)
        if gaps and found[group.name]["mean"] > max_gap:
            raise WorkError(
                f"{job.name}: log-probs of group {group.name} are {found[group.name]['mean']:.3g} nats a token off "
                f"those of the training stack, more than max_gap {max_gap:g}; use the same dtype for both, "
                "or raise it"
            )
    return found


def _views(job: Job, group: Any) -> dict[str, int]:
    """Every candidate_id of the group -> the view of its prompt that was asked; none where answers are rewritten."""
    if not isinstance(group, AnswerSettings):
        return {}
    num_views = max((len(views_of(prompt, group)) for prompt in job.input("prompts").records(Prompt)), default=0)
    return {numbered(group, view, k): view for view in range(num_views) for k in range(group.num_samples)}


def _chosen(job: Job, views: Mapping[str, int]) -> list[Candidate]:
    """Some of the group's candidates that have token ids."""
    own = (
        c
        for c in read_records(job.path / f"{table_name(Candidate)}.parquet", Candidate)
        if c.candidate_id in views and c.token_ids
    )
    return sorted(own, key=lambda c: unit_hash("parity", c.prompt_id, c.candidate_id))[:CHECKED]


def _gaps(job: Job, group: Any, views: Mapping[str, int], chosen: Sequence[Candidate], model: LazyModel) -> list[float]:
    from hasse.stages.scoring.score_texts import logprobs_of

    wanted = {c.prompt_id for c in chosen}
    prompts = [p for p in job.input("prompts").records(Prompt) if p.prompt_id in wanted]
    fitting, _ = views_that_fit(prompts, group, model.tokenizer, context=model.context)
    ids = {(prompts[i].prompt_id, view): view_ids for i, view, view_ids in fitting}
    asked = [(ids[c.prompt_id, views[c.candidate_id]], c.token_ids) for c in chosen]
    sums = logprobs_of(model.loaded.model, asked) if asked else []
    return [abs(own - (c.logprob_sum or 0.0)) / len(c.token_ids) for c, own in zip(chosen, sums, strict=True)]


def _summary(gaps: Sequence[float], chosen: Sequence[Candidate]) -> dict[str, Any]:
    """By length: the mean of answers of less than 8, 16, 32, ... tokens."""
    by_length: defaultdict[int, list[float]] = defaultdict(list)
    for gap, candidate in zip(gaps, chosen, strict=True):
        by_length[max(8, 1 << len(candidate.token_ids).bit_length())].append(gap)
    return {
        "checked": len(gaps),
        "max": max(gaps, default=0.0),
        "mean": sum(gaps) / max(len(gaps), 1),
        "by_length": {f"below {bound}": sum(part) / len(part) for bound, part in sorted(by_length.items())},
    }
