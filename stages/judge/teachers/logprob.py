"""Teacher `logprob`: the score of an answer is its log-likelihood under the teacher's model, scaled by its length.

    s(x, r) = log p_teacher(r | x) / |r|^1.3          |r| in the teacher's tokens, the end of the answer included

Source: "Tuna: Instruction Tuning using Feedback from Large Language Models", arXiv 2310.13385. An answer that the same
model sampled without thinking keeps the log-probs with which it was sampled; every other text is scored anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hasse.data.records import AspectScore, Candidate, Checkpoint, Judgement, Prompt
from hasse.data.settings import Config, unkeyed
from hasse.stages.grading import TaskSettings, stated
from hasse.stages.models.vllm_engine import EngineSettings, close_pools, engine_outputs

if TYPE_CHECKING:
    from hasse.stages.models.lazy import LazyModel

NEEDS_MODEL = True
NEEDS_TOKENS = True

close = close_pools


class Settings(Config):
    teacher: Literal["logprob"] = "logprob"
    length_exponent: float = Field(
        default=1.3, description="Power of the length; above 1 it favours longer answers. Tuna: 1.3."
    )
    rescore: bool = Field(default=False, description="Score anew even the answers that the teacher's model sampled.")
    engine: EngineSettings | None = Field(
        default=None, description="Settings of a vLLM engine that scores; left out: the training stack scores."
    )
    micro_batch_tokens: int = unkeyed(16384, ge=1, description="Padded tokens at a time; memory only.")
    chunk_size: int = unkeyed(500, ge=1, description="Prompts between two commits to the store.")


def own_process(settings: Settings) -> bool:
    return settings.engine is not None


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]], settings: Settings, task: TaskSettings, model: LazyModel
) -> Iterator[list[Judgement]]:
    """One judgement for each candidate: `total` is the score, and the aspect `logprob` the unscaled sum, in nats."""
    asked = [
        (prompt, candidate)
        for prompt, candidates in items
        for candidate in candidates
        if settings.rescore or not _was_sampled(candidate, model.checkpoint)
    ]
    scored = {
        (prompt.prompt_id, candidate.candidate_id): found
        for (prompt, candidate), found in zip(asked, _logprobs(asked, settings, model), strict=True)
    }
    for prompt, candidates in items:
        yield [
            _judgement(prompt, c, scored.get((prompt.prompt_id, c.candidate_id), _as_sampled(c)), settings, task)
            for c in candidates
        ]


def score(logprob: float, num_tokens: int, length_exponent: float) -> float:
    """The log-prob scaled by the length; higher is better."""
    return logprob / num_tokens**length_exponent


def _was_sampled(candidate: Candidate, model: Checkpoint) -> bool:
    same = (candidate.model_digest, candidate.tokenizer_digest) == (model.weights_digest, model.tokenizer_digest)
    kept = candidate.logprob_mode == "raw" and candidate.logprob_sum is not None and bool(candidate.token_ids)
    return same and kept and candidate.reasoning is None  # the sum would count the thinking


def _as_sampled(candidate: Candidate) -> tuple[float, int]:
    return candidate.logprob_sum or 0.0, len(candidate.token_ids)


def _logprobs(
    asked: list[tuple[Prompt, Candidate]], settings: Settings, model: LazyModel
) -> list[tuple[float, int] | None]:
    """(log-prob in nats, number of tokens) of each answer; None where prompt and answer do not fit."""
    from hasse.stages.models.tokens import asked_token_ids, completion_token_ids

    if not asked:
        return []
    tokenizer, room = model.tokenizer, _room(settings, model)
    pairs = [
        (
            asked_token_ids(tokenizer, prompt),
            completion_token_ids(tokenizer, candidate.text, ended=candidate.finish_reason != "length"),
        )
        for prompt, candidate in asked
    ]
    short_enough = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= room]
    sums = iter(_sums(short_enough, settings, model))
    return [(next(sums), len(c)) if len(p) + len(c) <= room else None for p, c in pairs]


def _room(settings: Settings, model: LazyModel) -> int:
    """The most tokens that prompt and answer may have; an engine needs room for one more token, which it samples."""
    if settings.engine is None:
        return model.context
    return min(model.context, settings.engine.max_model_len or model.context) - 1


def _sums(pairs: Sequence[tuple[list[int], list[int]]], settings: Settings, model: LazyModel) -> list[float]:
    """The log-prob of each answer after its prompt, in nats."""
    if settings.engine is None:
        from hasse.stages.scoring.score_texts import logprobs_of

        return logprobs_of(model.loaded.model, pairs, micro_batch_tokens=settings.micro_batch_tokens)
    how = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    outputs = engine_outputs(model.folder, settings.engine, [([*p, *c], how) for p, c in pairs])
    return [sum(output["prompt_logprobs"][len(p) :]) for (p, _), output in zip(pairs, outputs, strict=True)]


def _judgement(
    prompt: Prompt, candidate: Candidate, found: tuple[float, int] | None, settings: Settings, task: TaskSettings
) -> Judgement:
    label, correct = stated(candidate.text, prompt, task)
    if found is None:
        status, error, total, aspects = "filtered", "prompt and answer do not fit into the teacher's context", None, ()
    else:
        status, error, total = "ok", None, score(*found, settings.length_exponent)
        aspects = (AspectScore(name="logprob", score=found[0]),)
    return Judgement(
        prompt_id=candidate.prompt_id,
        candidate_id=candidate.candidate_id,
        teacher="logprob",
        aspects=aspects,
        total=total,
        label=label,
        correct=correct,
        status=status,
        error=error,
    )
