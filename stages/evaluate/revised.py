"""Revised answers: the model predicts feedback on its greedy answer, and answers again."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hasse.data.records import Evaluation
from hasse.data.rendering import prompt_as_text
from hasse.data.template import fill
from hasse.stages.evaluate.answers import graded
from hasse.stages.evaluate.questions import TokenisedPrompt
from hasse.stages.evaluate.settings import EvaluateSettings


def revised_answers(
    rows: Sequence[Evaluation],
    questions: Sequence[TokenisedPrompt],
    model: Any,
    tokenizer: Any,
    settings: EvaluateSettings,
) -> Iterator[Evaluation]:
    """One row for each question, greedy in both steps.

    Where a prompt with answer and feedback does not fit into the model's context, the first answer stands.
    """
    from hasse.stages.models.sample import greedy

    first = {row.prompt_id: row for row in rows if row.decoding == "greedy"}
    places = [{"prompt": prompt_as_text(q.prompt), "answer": first[q.prompt.prompt_id].text} for q in questions]
    feedback = greedy(
        model,
        tokenizer,
        [fill(settings.feedback_template, values) for values in places],
        max_tokens=settings.feedback_max_tokens,
        batch_size=settings.batch_size,
    )
    told = [{**values, "feedback": f.text if f else ""} for values, f in zip(places, feedback, strict=True)]
    second = greedy(
        model,
        tokenizer,
        [fill(settings.revise_template, values) for values in told],
        max_tokens=settings.max_tokens,
        batch_size=settings.batch_size,
    )
    for question, predicted, answer in zip(questions, feedback, second, strict=True):
        if predicted is None or answer is None:
            yield replace(first[question.prompt.prompt_id], decoding="revised")
        else:
            yield graded(question.prompt, answer, decoding="revised", sample=0, task=settings.task)
