"""Stages improver_examples and gap_examples: the examples of PIT's improver and of its reward model."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from hasse.data.records import Completion, TrainingExample
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config
from hasse.pipeline.stage import Job, Stage
from hasse.stages.examples.example import example_of
from hasse.stages.models.checkpoints import load_tokenizer_of
from hasse.stages.models.tokens import completion_token_ids
from hasse.stages.pit.improver import Triple, improver_ids, triples
from hasse.stages.train.methods.gap_reward import ORDERS
from hasse.stages.train.methods.pit import TEMPLATE


class ImproverExamplesSettings(Config):
    """Settings of the stages improver_examples and gap_examples."""

    template: str = Field(default=TEMPLATE, description="The improver's prompt, with {prompt} and {reference}.")
    max_length: int = Field(
        default=512, ge=8, description="Tokens of prompt and answer together; longer examples are left out, never cut."
    )
    pairs_per_prompt: int = Field(default=1, ge=1, description="The most ordered pairs of a prompt that are used.")
    blind: bool = Field(default=False, description="Leave the reference out of the reward model's texts.")


def run_improver(job: Job) -> None:
    """Write the improver's examples, from the fold `sft`."""
    _run(job, "sft", improver_example)


def run_gap(job: Job) -> None:
    """Write the reward model's examples, from the fold `reward`."""
    _run(job, "reward", gap_example)


def _run(job: Job, fold: str, example: Callable[[Triple, Any, ImproverExamplesSettings], TrainingExample]) -> None:
    settings: ImproverExamplesSettings = job.settings
    tokenizer = load_tokenizer_of(job.input("student"))
    counts: dict[str, int] = {}
    found = triples(job, fold, counts, pairs_per_prompt=settings.pairs_per_prompt)
    job.write((example(triple, tokenizer, settings) for triple in found), TrainingExample)
    job.metrics |= {"identical_pairs": counts.get("identical", 0)}


def improver_example(triple: Triple, tokenizer: Any, settings: ImproverExamplesSettings) -> TrainingExample:
    """The preferred answer as the target, after the improver's prompt with the other answer."""
    ids = improver_ids(tokenizer, prompt_as_text(triple.prompt), triple.other, settings.template)
    completions = _completions({"preferred": completion_token_ids(tokenizer, triple.preferred)})
    return example_of(triple.prompt, ids, completions, target=0, max_length=settings.max_length)


def gap_example(triple: Triple, tokenizer: Any, settings: ImproverExamplesSettings) -> TrainingExample:
    """The four texts of a triple in the order of `ORDERS`. The tokens that all texts begin with are the prompt."""
    answers = {"w": triple.preferred, "l": triple.other}
    prompts = {
        k: improver_ids(tokenizer, prompt_as_text(triple.prompt), "" if settings.blind else answer, settings.template)
        for k, answer in answers.items()
    }
    shared = _common_prefix(prompts["w"], prompts["l"])
    ends = {k: completion_token_ids(tokenizer, answer) for k, answer in answers.items()}
    completions = _completions({order: prompts[order[1]][shared:] + ends[order[0]] for order in ORDERS})
    shared_ids = prompts["w"][:shared]
    return example_of(triple.prompt, shared_ids, completions, target=None, max_length=settings.max_length)


def _common_prefix(a: list[int], b: list[int]) -> int:
    """The number of equal tokens at the start of both."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _completions(token_ids: Mapping[str, list[int]]) -> list[Completion]:
    return [Completion(candidate_id=k, token_ids=tuple(ids), source="preference") for k, ids in token_ids.items()]


IMPROVER = Stage(name="improver_examples", run=run_improver, in_child=True)
GAP = Stage(name="gap_examples", run=run_gap, in_child=True)
