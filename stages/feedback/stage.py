"""Stage feedback: annotators comment in words on the answers of models.

Items are chosen first, by hashes of their ids: at most `per_prompt` answers to a prompt, as many right as wrong ones,
`num_items` in all. Then each item goes to people or to the annotator, so that a sweep over the share of people keeps
its items. Feedback that does not pass the gates stays in the table with status `filtered` and the reasons.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from hasse.data.errors import InputError, SourceError
from hasse.data.joins import join
from hasse.data.parquet import read_records
from hasse.data.records import Candidate, Feedback, Judgement, Prompt
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config, Seed, key_of, registry, unkeyed
from hasse.data.text import unit_hash
from hasse.pipeline.fingerprint import canonical, file_digest
from hasse.pipeline.row_chunks import Keys, Unit
from hasse.pipeline.rows import PendingItems, map_rows, missing_units
from hasse.pipeline.stage import Job, Stage
from hasse.pipeline.store import Artifact
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.money.estimate import estimate as estimate_of
from hasse.stages.chat.money.spending import Spending
from hasse.stages.feedback.items import RIGHT, WRONG, AnnotationItem, names_answer
from hasse.stages.grading import TaskSettings

ANNOTATORS = "hasse.stages.feedback.annotators"
Annotator = registry.settings_union(ANNOTATORS, "annotator")


class Gates(Config):
    """What feedback must satisfy to become a training example."""

    min_chars: int = Field(default=10, ge=0, description="Shorter feedback is left out.")
    max_chars: int = Field(default=2000, ge=1, description="Longer feedback is left out.")
    verdict: bool = Field(default=True, description="Whether feedback must state a verdict that agrees with the judge.")
    names_answer: bool = Field(default=True, description="Whether feedback on a wrong answer must name the right one.")


class FeedbackSettings(Config):
    """The recipe's section `feedback`."""

    annotator: Annotator = Field(description="Who annotates the items that people do not.")  # type: ignore[valid-type]
    human: str | None = unkeyed(
        None, description="File with the feedback of people, written by `hasse annotate import`."
    )
    human_share: float = Field(default=0.0, ge=0, le=1, description="Share of the items that people annotate.")
    num_items: int | None = Field(
        default=None, ge=1, description="Number of items, whoever annotates them; left out: all."
    )
    per_prompt: int = Field(default=1, ge=1, description="The most answers to a prompt that get feedback.")
    balance: bool = Field(default=True, description="Whether to take as many right answers as wrong ones.")
    seed: Seed = Field(default=0, description="Another seed chooses other items.")
    gates: Gates = Gates()
    chunk_size: int = unkeyed(500, ge=1, description="Items between two commits to the store.")

    @model_validator(mode="after")
    def _people_exist(self) -> "FeedbackSettings":
        if self.human_share > 0 and self.human is None:
            raise ValueError("human_share is above 0 but there is no file of people's feedback: set human")
        return self


class FeedbackInputs(Config):
    """Settings of the feedback stage, with the task that says which answers are right."""

    feedback: FeedbackSettings
    task: TaskSettings


def external(settings: FeedbackSettings) -> dict[str, str]:
    """Digests of the files that the stage reads. Raises SourceError for a file that does not exist."""
    if settings.human is None:
        return {}
    if not Path(settings.human).is_file():
        raise SourceError("there is no such file", file=settings.human)
    return {"human": file_digest(Path(settings.human))}


def run(job: Job) -> None:
    inputs: FeedbackInputs = job.settings
    settings = inputs.feedback
    items, people = _chosen(job)
    annotator = registry.load(ANNOTATORS, settings.annotator.annotator, kind="annotator")
    spending, asks = Spending(job, planned), annotator.questions is not None

    def annotate(asked: Iterable[AnnotationItem]) -> Iterator[list[Feedback]]:
        pending = PendingItems(asked)
        left = (item for item in pending if item.ids not in people)
        told = annotator.annotate(left, settings.annotator, inputs.task, **({"payer": spending} if asks else {}))
        for said in chain(told, [None]):
            while pending.drawn and (ids := pending.drawn[0].ids) in people:
                yield [gated(pending.oldest(), people[ids], settings.gates, inputs.task)]
            if said is not None:
                yield [gated(pending.oldest(), said, settings.gates, inputs.task)]

    units = annotation_units(inputs, items, people)
    written = map_rows(job, units, annotate, Feedback, total=len(items), chunk_size=settings.chunk_size, stream=asks)
    job.count(Feedback, written.counts)
    job.metrics |= written.metrics
    spending.close(job)
    job.metrics |= {
        "by_people": len(people),
        "right": sum(bool(item.judgement.correct) for item in items),
        "wrong": sum(not item.judgement.correct for item in items),
    }


def estimate(job: Job) -> dict[str, Any] | None:
    """The questions and the money that missing feedback would take; None where no endpoint is asked."""
    return estimate_of(planned(job))


def planned(job: Job) -> Iterator[Planned] | None:
    """The questions to an endpoint that missing feedback would take; None where no endpoint is asked."""
    inputs: FeedbackInputs = job.settings
    if not asks_endpoint(inputs.feedback):
        return None
    items, people = _chosen(job)
    asked = (unit.item for unit in missing_units(job, annotation_units(inputs, items, people), Feedback))
    annotator = registry.load(ANNOTATORS, inputs.feedback.annotator.annotator, kind="annotator")
    return annotator.questions(
        (item for item in asked if item.ids not in people), inputs.feedback.annotator, inputs.task
    )


def asks_endpoint(settings: FeedbackSettings) -> bool:
    """Whether the annotator asks a chat endpoint."""
    return registry.load(ANNOTATORS, settings.annotator.annotator, kind="annotator").questions is not None


def choose(items: list[AnnotationItem], settings: FeedbackSettings) -> list[AnnotationItem]:
    """The items that get feedback, sorted by their ids. Raises InputError if no item is left."""
    drawn = sorted(items, key=lambda item: unit_hash("feedback", settings.seed, *item.ids))
    kept: list[AnnotationItem] = []
    used: dict[str, int] = {}
    for item in drawn:
        if used.get(item.prompt.prompt_id, 0) < settings.per_prompt:
            kept.append(item)
            used[item.prompt.prompt_id] = used.get(item.prompt.prompt_id, 0) + 1
    if settings.balance:
        right, wrong = ([i for i in kept if bool(i.judgement.correct) is verdict] for verdict in (True, False))
        size = min(len(right), len(wrong))
        if settings.num_items is not None:
            size = min(size, math.ceil(settings.num_items / 2))
        chosen = {item.ids for item in right[:size] + wrong[:size]}
        kept = [item for item in kept if item.ids in chosen]
    kept = kept[: settings.num_items]
    if not kept:
        raise InputError("no answer is left to be annotated; feedback.balance: false keeps answers that are all alike")
    return sorted(kept, key=lambda item: item.ids)


def by_people(items: list[AnnotationItem], settings: FeedbackSettings) -> dict[tuple[str, str], Feedback]:
    """Ids of an item -> the feedback of people, for their share of the items. Raises InputError if they gave less."""
    if settings.human is None or settings.human_share == 0:
        return {}
    given: dict[tuple[str, str], Feedback] = {}
    for row in read_records(Path(settings.human), Feedback):
        given.setdefault((row.prompt_id, row.candidate_id), row)
    wanted = round(settings.human_share * len(items))
    drawn = sorted(items, key=lambda item: unit_hash("people", settings.seed, *item.ids))
    found = [item.ids for item in drawn if item.ids in given]
    if len(found) < wanted:
        raise InputError(
            f"human_share {settings.human_share} of {len(items)} items is {wanted}, "
            f"but {settings.human} has feedback on only {len(found)} of them"
        )
    return {ids: given[ids] for ids in found[:wanted]}


def gated(item: AnnotationItem, feedback: Feedback, gates: Gates, task: TaskSettings) -> Feedback:
    """The feedback, with status `filtered` and the reasons if it does not pass the gates."""
    if feedback.status != "ok":
        return feedback
    problems = []
    if not gates.min_chars <= len(feedback.text.strip()) <= gates.max_chars:
        problems.append(f"{len(feedback.text.strip())} characters, not {gates.min_chars} to {gates.max_chars}")
    expected = RIGHT if item.judgement.correct else WRONG
    if gates.verdict and feedback.verdict is None:
        problems.append("states no verdict")
    elif gates.verdict and feedback.verdict != expected:
        problems.append(f"says {feedback.verdict}, the judge says {expected}")
    if gates.names_answer and expected == WRONG and not names_answer(feedback.text, item.prompt, task):
        problems.append("does not name the right answer")
    return replace(feedback, status="filtered", error="; ".join(problems)) if problems else feedback


def answers(prompts: Artifact, candidates: Artifact, judgements: Artifact) -> Iterator[AnnotationItem]:
    """Every judged answer of a model to a training prompt; answers by an expert get no feedback."""
    asked = (p for p in prompts.records(Prompt) if p.status == "ok" and p.split == "train")
    for prompt, found, judged in join(asked, candidates.records(Candidate), judgements.records(Judgement)):
        verdicts = {j.candidate_id: j for j in judged if j.status == "ok" and j.correct is not None}
        for candidate in found:
            if candidate.source != "human" and candidate.candidate_id in verdicts:
                yield AnnotationItem(prompt=prompt, candidate=candidate, judgement=verdicts[candidate.candidate_id])


def _chosen(job: Job) -> tuple[list[AnnotationItem], dict[tuple[str, str], Feedback]]:
    """The chosen items, and ids of an item -> feedback of people, for the items that people annotate."""
    settings: FeedbackSettings = job.settings.feedback
    items = choose(list(answers(*(job.input(name) for name in ("prompts", "candidates", "judgements")))), settings)
    return items, by_people(items, settings)


def annotation_units(
    inputs: FeedbackInputs, items: list[AnnotationItem], people: dict[tuple[str, str], Feedback]
) -> Iterator[Unit[AnnotationItem]]:
    settings = inputs.feedback
    keys = Keys.of(key_of(settings.annotator), key_of(inputs.task), key_of(settings.gates))
    for item in items:
        yield keys.unit(item, *key_parts(item, people.get(item.ids)))


def key_parts(item: AnnotationItem, human: Feedback | None) -> list[str]:
    prompt, judgement = item.prompt, item.judgement
    known: list[Any] = [prompt_as_text(prompt), prompt.label, prompt.answers, prompt.reference, item.candidate.text]
    return [*item.ids, canonical(known).decode(), f"{judgement.correct} {judgement.label}", repr(human)]


STAGE = Stage(
    name="feedback",
    run=run,
)
