"""One question that shows all candidates of a prompt, and the scores in its reply.

Candidates are shown under letters, never under their ids, which say where an answer comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from hasse.data import rendering
from hasse.data.records import AspectScore, Candidate, Prompt
from hasse.data.settings import Config
from hasse.data.text import unit_hash
from hasse.data.thinking import split_thinking
from hasse.stages.chat.json_replies import Schema, json_object, object_schema
from hasse.stages.chat.templates import render as rendered
from hasse.stages.judge.scales import weighted_mean

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Aspect(Config):
    """What a judge looks at."""

    name: str = Field(min_length=1, description="As it stands in the reply.")
    description: str = Field(description="What it means, in one line.")
    weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="In the total, a weighted mean; stated in questions that ask for an order or a verdict.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateScore:
    """What a reply gives one candidate. total: None where the judge abstains."""

    total: float | None
    aspects: tuple[AspectScore, ...] = ()
    rationale: str | None = None


def presentation_orders(
    prompt_id: str, candidates: Sequence[Candidate], *, num_orders: int, seed: int
) -> list[list[Candidate]]:
    """One or two orders, functions of the seed and the ids alone. The second is never the first again: a single

    candidate has one order only, and a second shuffle that gives the first is turned round.
    """

    def shuffled(number: int) -> list[Candidate]:
        return sorted(candidates, key=lambda c: unit_hash("presentation", seed, prompt_id, number, c.candidate_id))

    first = shuffled(1)
    if num_orders == 1 or len(candidates) == 1:
        return [first]
    second = shuffled(2)
    return [first, second if second != first else first[::-1]]


def tag(place: int) -> str:
    """A, B, ... Z, AA, AB, ... for 0, 1, ..."""
    return (tag(place // 26 - 1) if place >= 26 else "") + LETTERS[place % 26]


def render(path: Path, prompt: Prompt, shown: Sequence[Candidate], **values: Any) -> str:
    """The question. The template gets `question`, `reference`, `candidates` with tag and text, and these values.

    Raises SourceError for a template that cannot be used.
    """
    candidates = [{"tag": tag(i), "text": split_thinking(candidate.text).answer} for i, candidate in enumerate(shown)]
    return rendered(
        path, {"question": rendering.shown(prompt), "reference": prompt.reference, "candidates": candidates, **values}
    )


def scores_schema(num_candidates: int, aspects: Sequence[Aspect], scale: tuple[float, float]) -> Schema:
    """Of the reply that `read_scores` reads; the reason stands before the scores, so that it can decide them."""
    score = {"type": "number", "minimum": scale[0], "maximum": scale[1]}
    scores = object_schema({aspect.name: score for aspect in aspects})
    entry = object_schema({"rationale": {"type": "string"}, "scores": {"anyOf": [scores, {"type": "null"}]}})
    answers = object_schema({tag(i): {"$ref": "#/$defs/answer"} for i in range(num_candidates)})
    return {"$defs": {"answer": entry}, **object_schema({"candidates": answers})}


def read_scores(
    text: str, *, num_candidates: int, aspects: Sequence[Aspect], scale: tuple[float, float]
) -> list[CandidateScore]:
    """A mark for each candidate, in the order shown: from an object by tag, or a list of objects with `tag`.

    Raises ValueError that says what is wrong with the reply.
    """
    given = json_object(text, "candidates")["candidates"]
    entries = [{"tag": name, **entry} for name, entry in given.items()] if _is_by_tag(given) else given
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("'candidates' is neither an object of objects nor a list of them")
    tags = [tag(i) for i in range(num_candidates)]
    found = [str(entry.get("tag")) for entry in entries]
    check_tags(found, tags)
    by_tag = dict(zip(found, entries, strict=True))
    return [_mark(name, by_tag[name], aspects, scale) for name in tags]


def check_tags(found: Sequence[str], tags: Sequence[str]) -> None:
    """Raises ValueError unless each tag is there once and nothing else."""
    problems = {
        "unknown": sorted(set(found) - set(tags)),
        "missing": [name for name in tags if name not in found],
        "given twice": sorted({name for name in found if found.count(name) > 1}),
    }
    said = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    if said:
        raise ValueError(f"the tags must be {', '.join(tags)}, each once; {'; '.join(said)}")


def _is_by_tag(given: object) -> bool:
    return isinstance(given, dict) and all(isinstance(entry, dict) for entry in given.values())


def _mark(name: str, entry: dict[str, Any], aspects: Sequence[Aspect], scale: tuple[float, float]) -> CandidateScore:
    given = entry.get("scores", "")
    rationale = entry.get("rationale")
    rationale = rationale if isinstance(rationale, str) and rationale.strip() else None
    if given is None:
        return CandidateScore(total=None, rationale=rationale)
    scores = _scores(name, given, aspects, scale)
    return CandidateScore(
        total=weighted_mean(scores, {aspect.name: aspect.weight for aspect in aspects}),
        aspects=tuple(AspectScore(name=key, score=score) for key, score in scores.items()),
        rationale=rationale,
    )


def _scores(name: str, given: object, aspects: Sequence[Aspect], scale: tuple[float, float]) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise ValueError(f"candidate {name} has no object 'scores', nor null for none")
    unknown = sorted(set(given) - {aspect.name for aspect in aspects})
    if unknown:
        raise ValueError(f"candidate {name} has scores of unknown aspects: {', '.join(unknown)}")
    return {a.name: _number(name, a.name, given.get(a.name), scale) for a in aspects}


def _number(name: str, aspect: str, value: object, scale: tuple[float, float]) -> float:
    low, high = scale
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"candidate {name}: the score of {aspect!r} is {value!r}; a number is needed")
    if not low <= value <= high:  # NaN is not either
        raise ValueError(f"candidate {name}: the score {value} of {aspect!r} is not from {low:g} to {high:g}")
    return float(value)
