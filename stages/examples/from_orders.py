"""Stage examples: orders and candidates become training examples, tokenised once for every method."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from hasse.data.joins import join
from hasse.data.records import Candidate, Completion, PairIndex, PartialOrder, Prompt, TrainingExample
from hasse.data.settings import Config
from hasse.pipeline.stage import Job, Stage
from hasse.stages.models.checkpoints import load_tokenizer_of
from hasse.stages.models.thinking import opens_thinking
from hasse.stages.models.tokens import asked_token_ids, completion_token_ids


class ExamplesSettings(Config):
    """Settings of the examples stage."""

    max_length: int = Field(
        default=512,
        ge=8,
        description="The most tokens of prompt and completion together; longer completions are left out. Rescue: 512.",
    )
    keep_reasoning: bool = Field(
        default=False,
        description="Also train on the thinking before a candidate's answer; off: on the answer alone.",
    )
    splits: list[str] = Field(default=["train"], description="Splits whose orders become examples.")


def run(job: Job) -> None:
    settings: ExamplesSettings = job.settings
    tokenizer = load_tokenizer_of(job.input("student"))
    digest = job.input("student").manifest.identity["tokenizer"]
    counts = {"orders": 0, "completions_too_long": 0}
    counts_out = job.write(_examples(job, tokenizer, digest, settings, counts), TrainingExample)
    num_orders, num_elsewhere = _num_orders(job, settings)
    job.conserve("orders", expected=num_orders, found=sum(counts_out.values()) + num_elsewhere)
    job.metrics |= counts


def _num_orders(job: Job, settings: ExamplesSettings) -> tuple[int, int]:
    """(number of orders, number of those whose prompts are in splits that the settings do not name)"""
    elsewhere = {p.prompt_id for p in job.input("prompts").records(Prompt) if p.split not in settings.splits}
    ids = [order.prompt_id for order in job.input("orders").records(PartialOrder)]
    return len(ids), sum(prompt_id in elsewhere for prompt_id in ids)


def _examples(
    job: Job, tokenizer: Any, digest: str, settings: ExamplesSettings, counts: dict[str, int]
) -> Iterator[TrainingExample]:
    prompts = (p for p in job.input("prompts").records(Prompt) if p.status == "ok" and p.split in settings.splits)
    candidates = job.input("candidates").records(Candidate)
    orders = job.input("orders").records(PartialOrder)
    for prompt, answers, order in join(prompts, candidates, orders):
        if order:
            counts["orders"] += 1
            yield _example(prompt, answers, order[0], tokenizer, digest, settings, counts)


def _example(
    prompt: Prompt,
    candidates: list[Candidate],
    order: PartialOrder,
    tokenizer: Any,
    digest: str,
    settings: ExamplesSettings,
    counts: dict[str, int],
) -> TrainingExample:
    """The example of one prompt. A completion that does not fit is left out and counted; no completion is cut."""
    prompt_ids = asked_token_ids(tokenizer, prompt)
    by_id = {candidate.candidate_id: candidate for candidate in candidates}
    opened = opens_thinking(prompt_ids, tokenizer)
    completions = []
    for candidate_id, level in zip(order.candidate_ids, order.levels, strict=True):
        candidate = by_id[candidate_id]
        ids = token_ids(candidate, tokenizer, digest, opened=opened, keep_reasoning=settings.keep_reasoning)
        if len(prompt_ids) + len(ids) > settings.max_length:
            counts["completions_too_long"] += 1
        else:
            source = candidate.source
            completions.append(Completion(candidate_id=candidate_id, token_ids=tuple(ids), source=source, level=level))
    return assemble(prompt, prompt_ids, completions, order)


def assemble(
    prompt: Prompt, prompt_ids: list[int], completions: list[Completion], order: PartialOrder
) -> TrainingExample:
    """The example, with pairs and target as positions among the completions that are left."""
    position = {completion.candidate_id: i for i, completion in enumerate(completions)}
    pairs = tuple(
        PairIndex(above=position[pair.above], below=position[pair.below], margin=pair.margin)
        for pair in order.pairs
        if pair.above in position and pair.below in position
    )
    target = position.get(order.target) if order.target is not None else None
    useless = order.error or (None if pairs or target is not None else "neither an ordered pair nor a target")
    return TrainingExample(
        prompt_id=prompt.prompt_id,
        cluster_id=prompt.cluster_id,
        prompt_token_ids=tuple(prompt_ids),
        completions=tuple(completions),
        pairs=pairs,
        target=target,
        status="filtered" if useless else "ok",
        error=useless,
    )


def token_ids(
    candidate: Candidate, tokenizer: Any, digest: str, *, opened: bool = False, keep_reasoning: bool = False
) -> list[int]:
    """The token ids of a candidate as a completion.

    An answer that this tokenizer's model sampled keeps its ids, unless they hold thinking that is left out. opened: the
    prompt opens the thinking; an answer without thinking then closes it at once, so that it is read as an answer.
    """
    thinking = candidate.reasoning if keep_reasoning else None
    if candidate.token_ids and candidate.tokenizer_digest == digest and thinking == candidate.reasoning:
        return list(candidate.token_ids)
    text = _after_thinking(candidate.text, thinking, opened=opened)
    return completion_token_ids(tokenizer, text, ended=candidate.finish_reason != "length")


def _after_thinking(answer: str, thinking: str | None, *, opened: bool) -> str:
    """The answer after its thinking, between the tags of most open models."""
    if thinking is None and not opened:
        return answer
    return f"{'' if opened else '<think>'}\n{thinking or ''}\n</think>\n\n{answer}"


STAGE = Stage(
    name="examples",
    run=run,
    in_child=True,
)
