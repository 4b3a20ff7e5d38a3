"""Tuna's contextual question: the judge writes an answer of its own first, finds duplicates, and scores three aspects.

"Tuna: Instruction Tuning using Feedback from Large Language Models", arXiv 2310.13385: the judge decides whether the
question is open or closed ended, and scores each answer from 0 to 5 on aspects that depend on this. The total is their
sum, 0 to 15. Two departures: an answer that repeats another one keeps the scores of that one, so that two presentation
orders can be compared; and an answer is a duplicate only where every presentation order says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hasse.stages.chat.json_replies import Schema, json_object, object_schema
from hasse.stages.judge.list_questions import LETTERS, Aspect, CandidateScore, read_entries, read_mark, tag

SCALE = (0.0, 5.0)

ACCURACY = Aspect(name="accuracy", description="What it says is true and follows.")
DETAIL = Aspect(name="level of detail", description="It says as much as the question calls for, no less and no more.")
KINDS: Mapping[str, tuple[Aspect, ...]] = {
    "open": (Aspect(name="relevance", description="It answers what was asked."), DETAIL, ACCURACY),
    "closed": (ACCURACY, DETAIL, Aspect(name="clarity", description="It is easy to follow and leaves no doubt.")),
}
"""Kind of the question -> the aspects of its answers. A closed question has an answer that is right."""


def contextual_schema(num_candidates: int) -> Schema:
    """The schema of the reply that `read_contextual` reads; the own answer precedes the scores, to guide them."""
    score = {"type": "number", "minimum": SCALE[0], "maximum": SCALE[1]}
    scores = [object_schema({aspect.name: score for aspect in aspects}) for aspects in KINDS.values()]
    tags = [tag(i) for i in range(num_candidates)]
    entry = object_schema(
        {
            "rationale": {"type": "string"},
            "duplicate_of": {"anyOf": [{"type": "string", "enum": tags}, {"type": "null"}]},
            "scores": {"anyOf": [*scores, {"type": "null"}]},
        }
    )
    answers = object_schema({name: {"$ref": "#/$defs/answer"} for name in tags})
    kind = {"type": "string", "enum": list(KINDS)}
    properties = {"kind": kind, "own_answer": {"type": "string"}, "candidates": answers}
    return {"$defs": {"answer": entry}, **object_schema(properties)}


def read_contextual(text: str, *, num_candidates: int) -> list[CandidateScore]:
    """The score of each candidate, in the order shown. Raises ValueError that says what is wrong with the reply."""
    reply = json_object(text, "candidates")
    aspects = KINDS.get(str(reply.get("kind")).strip().lower())
    if aspects is None:
        raise ValueError(f"the kind is {reply.get('kind')!r}; it must be {' or '.join(KINDS)}")
    entries = read_entries(reply["candidates"], num_candidates=num_candidates)
    marks = [_summed(read_mark(name, entry, aspects, SCALE)) for name, entry in entries.items()]
    places = [_original(name, entry, list(entries)) for name, entry in entries.items()]
    return [_of_original(mark, place, places, marks) for mark, place in zip(marks, places, strict=True)]


def duplicates(candidate_ids: Sequence[str], lists: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Candidate -> the earlier candidate that it repeats, where every list says so.

    lists: for each presentation order, candidate -> the candidate that it repeats there, or itself.
    """
    kept: list[str] = []
    found: dict[str, str] = {}
    for name in candidate_ids:
        same = (k for k in kept if lists and all(said.get(name) == said.get(k) is not None for said in lists))
        original = next(same, None)
        if original is None:
            kept.append(name)
        else:
            found[name] = original
    return found


def _summed(mark: CandidateScore) -> CandidateScore:
    return replace(mark, total=sum(aspect.score for aspect in mark.aspects) if mark.total is not None else None)


def _original(name: str, entry: Mapping[str, object], tags: list[str]) -> int | None:
    """The place of the answer that this one repeats."""
    given = entry.get("duplicate_of")
    if given is None or given == name:
        return None
    if given not in tags:
        known = ", ".join(tags) if len(tags) <= len(LETTERS) else "a tag"
        raise ValueError(f"candidate {name} is a duplicate of {given!r}; it must be {known}, or null")
    return tags.index(str(given))


def _of_original(
    mark: CandidateScore, place: int | None, places: Sequence[int | None], marks: Sequence[CandidateScore]
) -> CandidateScore:
    """The score of an answer; a duplicate has that of the first answer in the chain that it repeats."""
    seen: set[int] = set()
    while place is not None and places[place] is not None and place not in seen:
        seen.add(place)
        place = places[place]
    if place is None:
        return mark
    return replace(mark, total=marks[place].total, aspects=marks[place].aspects, duplicate_of=place)
