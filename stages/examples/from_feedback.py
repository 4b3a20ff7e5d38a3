"""Stage feedback_examples: the student learns to predict the feedback on an answer, and to give the expert's answer.

No prompt contains a gold answer. An example that is too long loses words at the end of its context (in scripts without
spaces, characters), never words of the answer or the feedback. An example that still does not fit is left out and
counted.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator

from hasse.data.grams import parts
from hasse.data.joins import join
from hasse.data.records import Candidate, Completion, Feedback, Prompt, TrainingExample
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config
from hasse.data.template import check_placeholders, fill
from hasse.pipeline.stage import Job, Stage
from hasse.stages.examples.example import example_of
from hasse.stages.models.checkpoints import load_tokenizer_of
from hasse.stages.models.tokens import asked_token_ids, completion_token_ids, prompt_token_ids


class FeedbackExamplesSettings(Config):
    """Settings of the feedback_examples stage."""

    template: str = Field(
        default="{prompt}\n\nA proposed answer:\n{answer}\n\nIs it right, and why?\n",
        description="The text to which the feedback is the answer, with {prompt} and {answer}.",
    )
    max_length: int = Field(default=512, ge=8, description="Tokens of prompt and completion together.")

    @field_validator("template")
    @classmethod
    def _has_both(cls, template: str) -> str:
        return check_placeholders(template, ("prompt", "answer"))


UNUSABLE = {"refused", "truncated", "unparsable", "filtered", "duplicate", "budget_stopped", "failed"}
"""Statuses of feedback that becomes no example. A status that is neither `ok` nor here makes the stage fail."""


def run(job: Job) -> None:
    settings: FeedbackExamplesSettings = job.settings
    tokenizer = load_tokenizer_of(job.input("student"))
    counts = {"feedback": 0, "shortened": 0}
    job.write(_examples(job, tokenizer, settings, counts), TrainingExample)
    statuses = Counter(feedback.status for feedback in job.input("feedback").records(Feedback))
    num_unusable = sum(statuses[status] for status in UNUSABLE)
    job.conserve("feedback", expected=statuses.total(), found=counts["feedback"] + num_unusable)
    job.metrics |= counts


def _examples(
    job: Job, tokenizer: Any, settings: FeedbackExamplesSettings, counts: dict[str, int]
) -> Iterator[TrainingExample]:
    prompts = (p for p in job.input("prompts").records(Prompt) if p.status == "ok")
    candidates = job.input("candidates").records(Candidate)
    for prompt, answered, comments in join(prompts, candidates, job.input("feedback").records(Feedback)):
        answers = {candidate.candidate_id: candidate.text for candidate in answered}
        usable = [feedback for feedback in comments if feedback.status == "ok"]
        for feedback in usable:
            counts["feedback"] += 1
            example, shortened = feedback_example(prompt, answers[feedback.candidate_id], feedback, tokenizer, settings)
            counts["shortened"] += shortened
            yield example
        if usable and prompt.reference is not None:
            yield answer_example(prompt, tokenizer, settings.max_length)


def feedback_example(
    prompt: Prompt, answer: str, feedback: Feedback, tokenizer: Any, settings: FeedbackExamplesSettings
) -> tuple[TrainingExample, bool]:
    """The example of one feedback, and whether its context was shortened."""
    ids = completion_token_ids(tokenizer, feedback.text)
    asked, context, shortened = prompt, prompt.context or "", False
    while True:
        text = fill(settings.template, {"prompt": prompt_as_text(asked), "answer": answer})
        prompt_ids = prompt_token_ids(tokenizer, text)
        over = len(prompt_ids) + len(ids) - settings.max_length
        words = parts(context)
        if over <= 0 or not words:
            break
        shorter = "".join(words[: -min(len(words), max(1, over // 2))])
        asked, context, shortened = _with_context(asked, context, shorter), shorter, True
    completion = Completion(candidate_id=feedback.candidate_id, token_ids=tuple(ids), source="feedback")
    example = example_of(prompt, prompt_ids, [completion], target=0, max_length=settings.max_length)
    return example, shortened


def _with_context(prompt: Prompt, context: str, shorter: str) -> Prompt:
    turns = prompt.messages or ()
    cut = tuple(replace(turn, content=turn.content.replace(context, shorter)) for turn in turns)
    return replace(prompt, text=prompt.text.replace(context, shorter), messages=cut or None)


def answer_example(prompt: Prompt, tokenizer: Any, max_length: int) -> TrainingExample:
    """The example of the prompt itself, with the expert's answer."""
    prompt_ids = asked_token_ids(tokenizer, prompt)
    ids = completion_token_ids(tokenizer, prompt.reference or "")
    completion = Completion(candidate_id="reference", token_ids=tuple(ids), source="human")
    return example_of(prompt, prompt_ids, [completion], target=0, max_length=max_length)


STAGE = Stage(
    name="feedback_examples",
    run=run,
    in_child=True,
)
