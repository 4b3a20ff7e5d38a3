"""Counts the held-out pairs of candidates that the model has in order."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hasse.data.records import Evaluation, TrainingExample
from hasse.pipeline.stage import Job


def with_pairs(rows: Sequence[Evaluation], job: Job, model: Any) -> Iterator[Evaluation]:
    """The rows, each greedy one with its prompt's share of pairs in order and their mean lead, nats per token.

    The model has a pair in order when the better candidate has the higher mean log-prob per token.
    """
    from hasse.stages.scoring.score_texts import logprobs_of

    examples = [
        e for a in job.inputs.get("pairs", []) for e in a.records(TrainingExample) if e.status == "ok" and e.pairs
    ]
    texts = [(e.prompt_token_ids, c.token_ids) for e in examples for c in e.completions]
    logprobs = iter(logprobs_of(model, texts))
    leads: dict[str, list[float]] = {}
    for example in examples:
        score = [next(logprobs) / len(c.token_ids) for c in example.completions]
        leads[example.prompt_id] = [score[pair.above] - score[pair.below] for pair in example.pairs]
    for row in rows:
        lead = leads.get(row.prompt_id) if row.decoding == "greedy" else None
        if lead:
            in_order = sum(value > 0 for value in lead) / len(lead)
            yield replace(row, pair_accuracy=in_order, pair_margin=sum(lead) / len(lead))
        else:
            yield row
