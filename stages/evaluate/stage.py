"""Stage evaluate: a checkpoint answers held-out prompts, greedily and sampled, and is graded by rule."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field, field_validator

from hasse.data.errors import InputError
from hasse.data.records import Evaluation, Prompt, TrainingExample
from hasse.data.rendering import shown
from hasse.data.settings import Config, Seed, unkeyed
from hasse.data.template import check_places, fill
from hasse.pipeline.stage import Job, Stage
from hasse.stages.grading import READINGS, TaskSettings, grade
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.prompts.held_out import prove_disjoint


class EvaluateSection(Config):
    """The recipe's section `evaluate`."""

    split: Literal["validation", "test"] = Field(
        default="test", description="Choose settings on validation, report test."
    )
    limit: int | None = Field(default=None, ge=1, description="Only so many prompts, the first by id.")
    num_samples: int = Field(default=1, ge=0, description="Sampled answers a prompt beside the greedy one.")
    temperature: float = Field(default=0.8, gt=0, description="Of the sampled answers.")
    max_tokens: int = Field(default=64, ge=1, description="Tokens of an answer, at most.")
    seed: Seed = Field(default=0, description="Of the sampled answers.")
    revise: bool = Field(
        default=False,
        description="Also have the model predict feedback on its greedy answer and answer again: `revised`.",
    )
    revise_template: str = Field(
        default="{prompt}\n\nA proposed answer:\n{answer}\n\nFeedback:\n{feedback}\n\nThe answer again:\n",
        description="The prompt of the second answer.",
    )
    feedback_max_tokens: int = Field(default=96, ge=1, description="Tokens of the predicted feedback, at most.")
    pairs: bool = Field(
        default=False,
        description="Also sample, judge and order candidates of the held-out prompts, by the student, and tell how "
        "many of their pairs each model has in order.",
    )
    batch_size: int = unkeyed(256, ge=1, description="Sequences at a time; memory only.")

    @field_validator("revise_template")
    @classmethod
    def _has_places(cls, template: str) -> str:
        return check_places(template, ("prompt",), allowed=("answer", "feedback"))


class ImproveSettings(Config):
    """The checkpoint improves answers of the `policy`; where there is a threshold, the `reward` model decides."""

    template: str
    rounds: int = 1
    threshold: float | None = None
    shuffle_references: bool = False


class EvaluateSettings(EvaluateSection):
    """Settings of the evaluate stage, with the task that says what is right."""

    task: TaskSettings
    feedback_template: str
    improve: ImproveSettings | None = None


@dataclass(frozen=True)
class _Question:
    prompt: Prompt
    token_ids: list[int]


def run(job: Job) -> None:
    from hasse.stages.models.load import context_length, load_model, load_tokenizer

    settings: EvaluateSettings = job.settings
    prompts = held_out(job, settings)
    folder = model_folder(job.input("checkpoint"))
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    fitting, too_long = _questions(prompts, tokenizer, context_length(model) - settings.max_tokens)
    rows = list(_answers(job, fitting, model, tokenizer, settings))
    if settings.revise:
        rows += _revised(fitting, rows, model, tokenizer, settings)
    if settings.improve is None:
        rows = list(_with_references(rows, fitting, model, tokenizer))
        rows = list(_with_pairs(rows, job, model))
    rows += [
        _not_asked(prompt, decoding, k, settings.task) for prompt in too_long for decoding, k in decodings(settings)
    ]
    rows.sort(key=lambda row: (row.prompt_id, row.decoding, row.sample))
    job.write(rows, Evaluation)
    answered = {(row.prompt_id, row.decoding, row.sample) for row in rows}
    job.conserve("answers", expected=len(prompts) * len(decodings(settings)), found=len(answered))
    job.metrics |= _measures(rows)


def held_out(job: Job, settings: EvaluateSettings) -> list[Prompt]:
    """The prompts of the split, after a proof that the model has not been trained on them or their near-duplicates.

    Raises InputError when there are none.
    """
    prompts = [p for p in job.input("prompts").records(Prompt) if p.status == "ok"]
    asked = [p for p in prompts if p.split == settings.split]
    if not asked:
        raise InputError(f"{job.name}: no prompts in the split {settings.split!r}; see prompts.fractions")
    trained = {e.prompt_id for a in job.inputs.get("examples", []) for e in a.records(TrainingExample)}
    prove_disjoint([p for p in prompts if p.prompt_id in trained or p.split == "pretrain"], asked)
    return asked[: settings.limit]


def rounds(settings: EvaluateSettings) -> list[tuple[str, int, float]]:
    """(decoding, sample number, temperature) of each answer to a prompt."""
    return [("greedy", 0, 0.0), *(("sampled", k, settings.temperature) for k in range(settings.num_samples))]


def decodings(settings: EvaluateSettings) -> list[tuple[str, int]]:
    """(decoding, sample number) of every row of a prompt."""
    return [(decoding, k) for decoding, k, _ in rounds(settings)] + ([("revised", 0)] if settings.revise else [])


def _questions(prompts: list[Prompt], tokenizer: Any, room: int) -> tuple[list[_Question], list[Prompt]]:
    from hasse.stages.models.tokens import prompt_token_ids

    questions = [_Question(p, prompt_token_ids(tokenizer, p.text, p.messages)) for p in prompts]
    return [q for q in questions if len(q.token_ids) <= room], [q.prompt for q in questions if len(q.token_ids) > room]


def _answers(
    job: Job, questions: list[_Question], model: Any, tokenizer: Any, settings: EvaluateSettings
) -> Iterator[Evaluation]:
    planned = rounds(settings)
    improver = _Improver(job, model, tokenizer, settings) if settings.improve else None
    for done, (decoding, sample, temperature) in enumerate(planned):
        job.progress(done, len(planned))
        if improver:
            answers = improver.answers(questions, sample, temperature)
        else:
            ids = [q.token_ids for q in questions]
            answers = _sampled(model, tokenizer, ids, _seeds(questions, settings, sample), temperature, settings)
        for question, answer in zip(questions, answers, strict=True):
            yield _graded(question.prompt, answer, decoding, sample, settings.task)
    job.progress(len(planned), len(planned))


class _Improver:
    """The policy answers, the checkpoint improves."""

    def __init__(self, job: Job, model: Any, tokenizer: Any, settings: EvaluateSettings):
        from hasse.stages.models.load import load_model, load_reward_model
        from hasse.stages.pit.improver import GapJudge

        assert settings.improve is not None
        self.settings, self.how = settings, settings.improve
        self.model, self.tokenizer = model, tokenizer
        self.policy = load_model(model_folder(job.input("policy")))
        self.judge = None
        if self.how.threshold is not None:
            reward = load_reward_model(model_folder(job.input("reward")))
            self.judge = GapJudge(reward, tokenizer, self.how.template)

    def answers(self, questions: list[_Question], sample: int, temperature: float) -> list[Any]:
        """The policy's answer to each question, improved round by round; what is not bettered stays."""
        from hasse.stages.pit.improver import Improver

        improver = Improver(
            model=self.model,
            tokenizer=self.tokenizer,
            template=self.how.template,
            temperature=temperature,
            max_tokens=self.settings.max_tokens,
            batch_size=self.settings.batch_size,
            judge=self.judge,
            threshold=self.how.threshold,
        )
        ids = [q.token_ids for q in questions]
        seeds = _seeds(questions, self.settings, sample)
        current = _sampled(self.policy, self.tokenizer, ids, seeds, temperature, self.settings)
        for number in range(self.how.rounds):
            given = current[1:] + current[:1] if self.how.shuffle_references else current
            asked = [(shown(q.prompt), answer.text) for q, answer in zip(questions, given, strict=True)]
            seeds = _seeds(questions, self.settings, f"{sample} round {number}")
            new = improver.improved(asked, seeds, [answer.text for answer in current])
            current = [better or answer for better, answer in zip(new, current, strict=True)]
        return current


def _seeds(questions: list[_Question], settings: EvaluateSettings, sample: int | str) -> list[int]:
    from hasse.stages.generate.answers import row_seed

    return [row_seed(settings.seed, q.prompt.prompt_id, str(sample)) for q in questions]


def _sampled(
    model: Any, tokenizer: Any, ids: list[list[int]], seeds: list[int], temperature: float, settings: EvaluateSettings
) -> list[Any]:
    from hasse.stages.models.sample import generate

    return generate(
        model,
        tokenizer,
        ids,
        seeds,
        temperature=temperature,
        top_p=1.0,
        max_tokens=settings.max_tokens,
        batch_size=settings.batch_size,
    )


def _revised(
    questions: list[_Question], rows: list[Evaluation], model: Any, tokenizer: Any, settings: EvaluateSettings
) -> Iterator[Evaluation]:
    """Answer, predicted feedback, second answer, all greedy; where a longer prompt does not fit, the answer stands."""
    from hasse.stages.models.sample import greedy

    first = {row.prompt_id: row for row in rows if row.decoding == "greedy"}
    texts = [
        fill(settings.feedback_template, {"prompt": shown(q.prompt), "answer": first[q.prompt.prompt_id].text})
        for q in questions
    ]
    batch_size = settings.batch_size
    told = greedy(model, tokenizer, texts, max_tokens=settings.feedback_max_tokens, batch_size=batch_size)
    texts = [
        fill(
            settings.revise_template,
            {
                "prompt": shown(q.prompt),
                "answer": first[q.prompt.prompt_id].text,
                "feedback": feedback.text if feedback else "",
            },
        )
        for q, feedback in zip(questions, told, strict=True)
    ]
    again = greedy(model, tokenizer, texts, max_tokens=settings.max_tokens, batch_size=batch_size)
    for question, feedback, answer in zip(questions, told, again, strict=True):
        if feedback is None or answer is None:
            yield replace(first[question.prompt.prompt_id], decoding="revised")
        else:
            yield _graded(question.prompt, answer, "revised", 0, settings.task)


def _with_pairs(rows: list[Evaluation], job: Job, model: Any) -> Iterator[Evaluation]:
    """How the model orders the held-out candidates, by their mean log-prob a token, in each prompt's greedy row."""
    from hasse.stages.scoring.score_texts import logprobs_of

    examples = [
        e for a in job.inputs.get("pairs", []) for e in a.records(TrainingExample) if e.status == "ok" and e.pairs
    ]
    asked = [(e.prompt_token_ids, c.token_ids) for e in examples for c in e.completions]
    found = iter(logprobs_of(model, asked))
    lead: dict[str, list[float]] = {}
    for example in examples:
        score = [next(found) / len(c.token_ids) for c in example.completions]
        lead[example.prompt_id] = [score[pair.above] - score[pair.below] for pair in example.pairs]
    for row in rows:
        leads = lead.get(row.prompt_id) if row.decoding == "greedy" else None
        if leads:
            in_order = sum(value > 0 for value in leads) / len(leads)
            yield replace(row, pair_accuracy=in_order, pair_margin=sum(leads) / len(leads))
        else:
            yield row


def _with_references(
    rows: list[Evaluation], questions: list[_Question], model: Any, tokenizer: Any
) -> Iterator[Evaluation]:
    """The log-prob of the expert's answer, in each prompt's greedy row: how far models have drifted on it."""
    from hasse.stages.models.load import context_length
    from hasse.stages.models.tokens import completion_token_ids
    from hasse.stages.scoring.score_texts import logprobs_of

    asked = {
        q.prompt.prompt_id: (q.token_ids, completion_token_ids(tokenizer, q.prompt.reference))
        for q in questions
        if q.prompt.reference is not None
    }
    room = context_length(model)
    asked = {i: (p, c) for i, (p, c) in asked.items() if len(p) + len(c) <= room}
    found = dict(zip(asked, logprobs_of(model, list(asked.values())), strict=True))
    for row in rows:
        if row.decoding == "greedy" and row.prompt_id in found:
            length = len(asked[row.prompt_id][1])
            yield replace(row, reference_logprob=found[row.prompt_id], reference_tokens=length)
        else:
            yield row


def _graded(prompt: Prompt, answer: Any, decoding: str, sample: int, task: TaskSettings) -> Evaluation:
    result = grade(answer.text, prompt, task)
    return Evaluation(
        prompt_id=prompt.prompt_id,
        cluster_id=prompt.cluster_id,
        split=prompt.split,
        group=prompt.group,
        decoding=decoding,
        sample=sample,
        text=answer.text,
        num_tokens=len(answer.token_ids),
        finish_reason=answer.finish_reason,
        gold=prompt.label or (prompt.answers[0] if prompt.answers else None),
        label_strict=result.label_strict,
        label_loose=result.label_loose,
        label_first=result.label_first,
        correct_strict=result.correct_strict,
        correct_loose=result.correct_loose,
        correct_first=result.correct_first,
        score=result.score,
        status="ok" if answer.finish_reason == "stop" else "truncated",
    )


def _not_asked(prompt: Prompt, decoding: str, sample: int, task: TaskSettings) -> Evaluation:
    """A prompt that does not fit counts as wrong where it has a gold answer, and says so."""
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


def _measures(rows: list[Evaluation]) -> dict[str, float]:
    found = {}
    for decoding in sorted({row.decoding for row in rows}):
        mine = [row for row in rows if row.decoding == decoding]
        known = [row for row in mine if row.correct_strict is not None]
        for reading in READINGS if known else ():
            found[f"{decoding}_{reading}"] = sum(bool(getattr(row, f"correct_{reading}")) for row in known) / len(known)
        scored = [row.score for row in mine if row.score is not None]
        if scored:
            found[f"{decoding}_score"] = sum(scored) / len(mine)
    ordered = [row for row in rows if row.pair_accuracy is not None]
    if ordered:
        found["pair_accuracy"] = sum(row.pair_accuracy or 0 for row in ordered) / len(ordered)
        found["pair_margin"] = sum(row.pair_margin or 0 for row in ordered) / len(ordered)
    measured = [row for row in rows if row.reference_logprob is not None and row.reference_tokens]
    if measured:
        nll = (-(row.reference_logprob or 0) / (row.reference_tokens or 1) for row in measured)
        found["reference_nll"] = sum(nll) / len(measured)
    return found


STAGE = Stage(
    name="evaluate",
    run=run,
    in_child=True,
)
