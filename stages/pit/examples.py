"""Stages improver_examples and gap_examples: triples of a fold as PIT's improver and reward model need them."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field

from hasse.data.records import Completion, TrainingExample
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config
from hasse.pipeline.stage import Job, Stage
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.models.tokens import completion_token_ids
from hasse.stages.pit.improver import Triple, improver_ids, triples
from hasse.stages.train.methods.gap_reward import ORDERS
from hasse.stages.train.methods.pit import TEMPLATE


class ImproverExamplesSettings(Config):
    """Settings of both stages."""

    template: str = Field(default=TEMPLATE, description="The improver's prompt, with {prompt} and {reference}.")
    max_length: int = Field(
        default=512, ge=8, description="Tokens of prompt and answer together; what is longer is left out, never cut."
    )
    pairs_per_prompt: int = Field(default=1, ge=1, description="Ordered pairs of a prompt, at most.")
    blind: bool = Field(default=False, description="Leave the reference out of the reward model's texts.")


def run_improver(job: Job) -> None:
    """Fold `sft`: the other answer in the prompt, the preferred one to be written."""
    _run(job, "sft", improver_example)


def run_gap(job: Job) -> None:
    """Fold `reward`: the four orders of the two answers."""
    _run(job, "reward", gap_example)


def _run(job: Job, fold: str, make: Callable[[Triple, Any, ImproverExamplesSettings], TrainingExample]) -> None:
    from hasse.stages.models.load import load_tokenizer

    settings: ImproverExamplesSettings = job.settings
    tokenizer = load_tokenizer(model_folder(job.input("student")))
    counts: dict[str, int] = {}

    def rows() -> Iterator[TrainingExample]:
        for triple in triples(job, fold, counts, pairs_per_prompt=settings.pairs_per_prompt):
            example = make(triple, tokenizer, settings)
            longest = max(len(c.token_ids) for c in example.completions)
            yield _checked(example, len(example.prompt_token_ids) + longest <= settings.max_length)

    job.write(rows(), TrainingExample)
    job.metrics |= {"identical_pairs": counts.get("identical", 0)}


def improver_example(triple: Triple, tokenizer: Any, settings: ImproverExamplesSettings) -> TrainingExample:
    ids = improver_ids(tokenizer, prompt_as_text(triple.prompt), triple.other, settings.template)
    return _example(triple, ids, {"preferred": completion_token_ids(tokenizer, triple.preferred)}, target=0)


def gap_example(triple: Triple, tokenizer: Any, settings: ImproverExamplesSettings) -> TrainingExample:
    """The completions stand in the order of `ORDERS`; what their texts share at the start is the prompt."""
    answers = {"w": triple.preferred, "l": triple.other}
    prompts = {
        k: improver_ids(tokenizer, prompt_as_text(triple.prompt), "" if settings.blind else answer, settings.template)
        for k, answer in answers.items()
    }
    shared = _common_prefix(prompts["w"], prompts["l"])
    ends = {k: completion_token_ids(tokenizer, answer) for k, answer in answers.items()}
    texts = {order: prompts[order[1]][shared:] + ends[order[0]] for order in ORDERS}
    return _example(triple, prompts["w"][:shared], texts, target=None)


def _common_prefix(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _example(
    triple: Triple, prompt_ids: list[int], texts: dict[str, list[int]], *, target: int | None
) -> TrainingExample:
    return TrainingExample(
        prompt_id=triple.prompt.prompt_id,
        cluster_id=triple.prompt.cluster_id,
        prompt_token_ids=tuple(prompt_ids),
        completions=tuple(
            Completion(candidate_id=name, token_ids=tuple(ids), source="preference") for name, ids in texts.items()
        ),
        target=target,
    )


def _checked(example: TrainingExample, fits: bool) -> TrainingExample:
    if fits:
        return example
    return TrainingExample(
        prompt_id=example.prompt_id,
        cluster_id=example.cluster_id,
        prompt_token_ids=(),
        completions=(),
        status="filtered",
        error="prompt and answers do not fit into max_length",
    )


IMPROVER = Stage(name="improver_examples", run=run_improver, in_child=True)
GAP = Stage(name="gap_examples", run=run_gap, in_child=True)
