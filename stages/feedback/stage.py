"""Stage feedback: annotators comment in words on the answers of models.

Items are chosen first, by hashes of their ids: at most `per_prompt` answers to a prompt, as many right as wrong ones,
`num_items` in all. Then each item goes to people or to the annotator, so that a sweep over the share of people keeps
its items. Feedback that does not pass the gates stays in the table with status `filtered` and the reasons.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from hasse.data.errors import SourceError
from hasse.data.records import Feedback
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import key_of, registry
from hasse.pipeline.fingerprint import canonical, file_digest
from hasse.pipeline.row_chunks import Keys, Unit
from hasse.pipeline.rows import PendingItems, map_rows, missing_units
from hasse.pipeline.stage import Job, Stage
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.money.estimate import estimate as estimate_of
from hasse.stages.chat.money.spending import Spending
from hasse.stages.feedback.choice import answers, by_people, choose
from hasse.stages.feedback.gates import gated
from hasse.stages.feedback.items import AnnotationItem
from hasse.stages.feedback.settings import ANNOTATORS, FeedbackInputs, FeedbackSettings


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
