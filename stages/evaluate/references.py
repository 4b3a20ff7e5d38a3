"""Measures how likely the model finds the experts' answers, and so how far training has moved it from them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hasse.data.records import Evaluation
from hasse.stages.evaluate.questions import TokenisedPrompt


def with_references(
    rows: Sequence[Evaluation], questions: Sequence[TokenisedPrompt], model: Any, tokenizer: Any
) -> Iterator[Evaluation]:
    """The rows, each greedy one with the log-prob (nats) and the number of tokens of its prompt's expert answer.

    An expert answer that does not fit into the model's context with its prompt is left out.
    """
    from hasse.stages.models.load import context_length
    from hasse.stages.models.tokens import completion_token_ids
    from hasse.stages.scoring.score_texts import logprobs_of

    texts = {
        q.prompt.prompt_id: (q.token_ids, completion_token_ids(tokenizer, q.prompt.reference))
        for q in questions
        if q.prompt.reference is not None
    }
    room = context_length(model)
    texts = {i: (prompt, answer) for i, (prompt, answer) in texts.items() if len(prompt) + len(answer) <= room}
    logprob = dict(zip(texts, logprobs_of(model, list(texts.values())), strict=True))
    for row in rows:
        if row.decoding == "greedy" and row.prompt_id in logprob:
            length = len(texts[row.prompt_id][1])
            yield replace(row, reference_logprob=logprob[row.prompt_id], reference_tokens=length)
        else:
            yield row
