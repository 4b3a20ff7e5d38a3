"""The answers of the split `pretrain`, from which a student learns before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hasse.data.errors import InputError
from hasse.data.records import Completion, Prompt, TrainingExample
from hasse.pipeline.stage import Job
from hasse.stages.examples.example import example_of
from hasse.stages.prompts.question import answer_of


def lesson_prompts(job: Job) -> list[Prompt]:
    """The prompts of the split `pretrain` that have an answer. Raises InputError if there are none."""
    prompts = [p for p in job.input("prompts").records(Prompt) if _is_lesson(p)]
    if not prompts:
        raise InputError(
            "a student from scratch or with a warm-up needs prompts with an answer in the split 'pretrain'; there are "
            "none, see prompts.fractions"
        )
    return prompts


def lessons(prompts: Sequence[Prompt], tokenizer: Any, max_length: int) -> tuple[list[TrainingExample], int]:
    """One example for each prompt of at most `max_length` tokens with its answer, and the number of longer prompts."""
    from hasse.stages.models.tokens import asked_token_ids, completion_token_ids

    examples = []
    for prompt in prompts:
        prompt_ids = asked_token_ids(tokenizer, prompt)
        answer_ids = completion_token_ids(tokenizer, answer_of(prompt) or "")
        completion = Completion(candidate_id="reference", token_ids=tuple(answer_ids), source="human")
        examples.append(example_of(prompt, prompt_ids, [completion], target=0, max_length=max_length))
    usable = [example for example in examples if example.status == "ok"]
    return usable, len(prompts) - len(usable)


def _is_lesson(prompt: Prompt) -> bool:
    return prompt.status == "ok" and prompt.split == "pretrain" and answer_of(prompt) is not None
