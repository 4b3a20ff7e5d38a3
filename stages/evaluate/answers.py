"""A model's answers to held-out prompts, and their grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hasse.data.records import Evaluation, Prompt
from hasse.stages.evaluate.questions import TokenisedPrompt
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.grading import TaskSettings, grade

if TYPE_CHECKING:
    from hasse.stages.models.sample import Sampled


def seeds_of(questions: Sequence[TokenisedPrompt], settings: EvaluateSettings, name: int | str) -> list[int]:
    """A seed for each question, from the settings' seed, the prompt's id and a name."""
    from hasse.stages.generate.answers import row_seed

    return [row_seed(settings.seed, q.prompt.prompt_id, str(name)) for q in questions]


def sampled_answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[TokenisedPrompt],
    seeds: Sequence[int],
    temperature: float,
    settings: EvaluateSettings,
) -> list[Sampled]:
    from hasse.stages.models.sample import generate

    return generate(
        model,
        tokenizer,
        [question.token_ids for question in questions],
        list(seeds),
        temperature=temperature,
        top_p=1.0,
        max_tokens=settings.max_tokens,
        max_thinking_tokens=settings.max_thinking_tokens,
        batch_size=settings.batch_size,
    )


def graded(prompt: Prompt, answer: Sampled, *, decoding: str, sample: int, task: TaskSettings) -> Evaluation:
    """The row of one answer."""
    grades = grade(answer.text, prompt, task)
    return Evaluation(
        prompt_id=prompt.prompt_id,
        cluster_id=prompt.cluster_id,
        split=prompt.split,
        group=prompt.group,
        decoding=decoding,
        sample=sample,
        text=answer.text,
        num_tokens=answer.num_answer_tokens,
        finish_reason=answer.finish_reason,
        gold=prompt.label or (prompt.answers[0] if prompt.answers else None),
        label_strict=grades.label_strict,
        label_loose=grades.label_loose,
        label_first=grades.label_first,
        correct_strict=grades.correct_strict,
        correct_loose=grades.correct_loose,
        correct_first=grades.correct_first,
        score=grades.score,
        status="ok" if answer.finish_reason == "stop" else "truncated",
    )


def too_long(prompt: Prompt, *, decoding: str, sample: int, task: TaskSettings) -> Evaluation:
    """The row of a prompt that does not fit into the model's context; with a gold answer, the row counts as wrong."""
    wrong = False if task.has_gold(prompt) else None
    return Evaluation(
        prompt_id=prompt.prompt_id,
        cluster_id=prompt.cluster_id,
        split=prompt.split,
        group=prompt.group,
        decoding=decoding,
        sample=sample,
        text="",
        num_tokens=0,
        gold=prompt.label,
        correct_strict=wrong,
        correct_loose=wrong,
        correct_first=wrong,
        status="filtered",
        error="the prompt does not fit into the model's context",
    )
