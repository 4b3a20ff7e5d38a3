"""Stage evaluate: a checkpoint answers held-out prompts, greedily and sampled, and is graded by rule."""

from collections.abc import Iterator, Sequence
from typing import Any

from hasse.data.records import Evaluation
from hasse.pipeline.stage import Job, Stage
from hasse.stages.evaluate.answers import graded, sampled_answers, seeds_of, too_long
from hasse.stages.evaluate.best_of import BestOfAnswers
from hasse.stages.evaluate.improved import AnswerImprover
from hasse.stages.evaluate.pairs import with_pairs
from hasse.stages.evaluate.questions import TokenisedPrompt, held_out, tokenised
from hasse.stages.evaluate.references import with_references
from hasse.stages.evaluate.revised import revised_answers
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.evaluate.summary import summary
from hasse.stages.models.checkpoints import load_tokenizer_of, model_folder


def run(job: Job) -> None:
    from hasse.stages.models.load import context_length, load_model

    settings: EvaluateSettings = job.settings
    prompts = held_out(job, settings)
    checkpoint = job.input("checkpoint")
    model, tokenizer = load_model(model_folder(checkpoint)), load_tokenizer_of(checkpoint)
    room = context_length(model) - settings.max_tokens - (settings.max_thinking_tokens or 0)
    questions, unasked = tokenised(prompts, tokenizer, max_length=room)
    rows = list(graded_answers(job, questions, model, tokenizer, settings))
    if settings.revise:
        rows += revised_answers(rows, questions, model, tokenizer, settings)
    if settings.improve is None and settings.choose is None:
        rows = list(with_references(rows, questions, model, tokenizer))
        rows = list(with_pairs(rows, job, model))
    rows += [too_long(p, decoding=d, sample=k, task=settings.task) for p in unasked for d, k in settings.decodings]
    rows.sort(key=lambda row: (row.prompt_id, row.decoding, row.sample))
    job.write(rows, Evaluation)
    answered = {(row.prompt_id, row.decoding, row.sample) for row in rows}
    job.conserve("answers", expected=len(prompts) * len(settings.decodings), found=len(answered))
    job.metrics |= summary(rows)


def graded_answers(
    job: Job, questions: Sequence[TokenisedPrompt], model: Any, tokenizer: Any, settings: EvaluateSettings
) -> Iterator[Evaluation]:
    """One row for each question and round.

    With `improve`, the model improves the answers of the policy. With `choose`, the best of its own answers counts.
    """
    maker = None
    if settings.improve:
        maker = AnswerImprover(job, model, tokenizer, settings)
    elif settings.choose:
        maker = BestOfAnswers(job, model, tokenizer, settings)
    for done, (decoding, sample, temperature) in enumerate(settings.rounds):
        job.progress(done, len(settings.rounds))
        if maker:
            answers = maker.answers(questions, sample, temperature)
        else:
            seeds = seeds_of(questions, settings, sample)
            answers = sampled_answers(model, tokenizer, questions, seeds, temperature, settings)
        for question, answer in zip(questions, answers, strict=True):
            yield graded(question.prompt, answer, decoding=decoding, sample=sample, task=settings.task)
    job.progress(len(settings.rounds), len(settings.rounds))


STAGE = Stage(
    name="evaluate",
    run=run,
    in_child=True,
)
