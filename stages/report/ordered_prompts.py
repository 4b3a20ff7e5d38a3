"""Prompts that a report shows, with their candidates and the Hasse diagram of their order."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hasse.data.joins import join
from hasse.data.records import Candidate, Judgement, PartialOrder, Prompt
from hasse.data.text import unit_hash
from hasse.pipeline.stage import Job
from hasse.stages.order.judged import is_human
from hasse.stages.report.svg import Node, hasse_diagram

BY_WHOM = ["prompt_id", "candidate_id", "text", "source"]
"""The columns of candidates that say who wrote them."""


@dataclass(frozen=True, kw_only=True)
class ShownCandidate:
    candidate: Candidate
    judgement: Judgement | None
    level: float | None
    is_target: bool

    @property
    def verdict(self) -> bool | None:
        return self.judgement.correct if self.judgement else None

    @property
    def mean_logprob(self) -> float | None:
        """Nats per token."""
        c = self.candidate
        return None if c.logprob_sum is None or not c.logprobs else c.logprob_sum / len(c.logprobs)


@dataclass(frozen=True, kw_only=True)
class ShownPrompt:
    prompt: Prompt
    order: PartialOrder
    candidates: list[ShownCandidate]
    diagram: Markup


def shown_prompts(job: Job, number: int) -> list[ShownPrompt]:
    """`number` prompts that have an ordered pair, half of them without an expert's answer where there are as many."""
    orders = {order.prompt_id: order for order in _chosen(job, number)}
    prompts = (p for p in job.input("prompts").records(Prompt) if p.prompt_id in orders)
    candidates = (c for c in job.input("candidates").records(Candidate) if c.prompt_id in orders)
    judgements = (j for j in job.input("judgements").records(Judgement) if j.prompt_id in orders)
    return [_shown(p, orders[p.prompt_id], c, j) for p, c, j in join(prompts, candidates, judgements)]


def _chosen(job: Job, number: int) -> list[PartialOrder]:
    """Orders of prompts with an expert's answer first, and within these two kinds by a hash of the prompt's id."""
    ordered = [o for o in job.input("orders").records(PartialOrder) if o.pairs]
    by_expert = {c.prompt_id for c in job.input("candidates").records(Candidate, columns=BY_WHOM) if is_human(c)}
    ordered.sort(key=lambda o: (o.prompt_id not in by_expert, unit_hash("shown", o.prompt_id)))
    half = number // 2
    return ordered[: number - half] + [o for o in ordered[number - half :] if o.prompt_id not in by_expert][:half]


def _shown(
    prompt: Prompt, order: PartialOrder, candidates: Sequence[Candidate], judgements: Sequence[Judgement]
) -> ShownPrompt:
    by_id = {c.candidate_id: c for c in candidates}
    judged = {j.candidate_id: j for j in judgements}
    shown = [
        ShownCandidate(candidate=by_id[i], judgement=judged.get(i), level=level, is_target=i == order.target)
        for i, level in zip(order.candidate_ids, order.levels, strict=True)
    ]
    nodes = [Node(name=c.candidate.candidate_id, verdict=c.verdict, human=is_human(c.candidate)) for c in shown]
    diagram = hasse_diagram(nodes, [(pair.above, pair.below) for pair in order.pairs])
    return ShownPrompt(prompt=prompt, order=order, candidates=shown, diagram=Markup(diagram))
