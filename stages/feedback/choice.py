"""Chooses the answers that get feedback, and those of them that people annotate."""

import math
from collections.abc import Iterator
from pathlib import Path

from hasse.data.errors import InputError
from hasse.data.joins import join
from hasse.data.parquet import read_records
from hasse.data.records import Candidate, Feedback, Judgement, Prompt
from hasse.data.text import unit_hash
from hasse.pipeline.store import Artifact
from hasse.stages.feedback.items import AnnotationItem
from hasse.stages.feedback.settings import FeedbackSettings


def answers(prompts: Artifact, candidates: Artifact, judgements: Artifact) -> Iterator[AnnotationItem]:
    """Every judged answer of a model to a training prompt; answers by an expert get no feedback."""
    asked = (p for p in prompts.records(Prompt) if p.status == "ok" and p.split == "train")
    for prompt, found, judged in join(asked, candidates.records(Candidate), judgements.records(Judgement)):
        verdicts = {j.candidate_id: j for j in judged if j.status == "ok" and j.correct is not None}
        for candidate in found:
            if candidate.source != "human" and candidate.candidate_id in verdicts:
                yield AnnotationItem(prompt=prompt, candidate=candidate, judgement=verdicts[candidate.candidate_id])


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
