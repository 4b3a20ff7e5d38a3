"""The question that shows all candidates of a prompt, and how the scores in its reply are read.

Candidates are shown under letters, never under their ids, because an id tells where an answer comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from hasse.data.records import AspectScore, Candidate, Prompt
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config
from hasse.data.text import unit_hash
from hasse.data.thinking import split_thinking
from hasse.stages.chat.json_replies import Schema, json_object, object_schema
from hasse.stages.chat.templates import render as rendered
from hasse.stages.judge.scales import weighted_mean

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Aspect(Config):
    """A quality that a judge scores."""

    name: str = Field(min_length=1, description="The name of the aspect in the reply.")
    description: str = Field(description="What the aspect means, in one line.")
    weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Weight in the total, a weighted mean; questions for an order or a verdict state the weights.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateScore:
    """The scores of one candidate in a reply. total: None where the judge abstains."""

    total: float | None
    aspects: tuple[AspectScore, ...] = ()
    rationale: str | None = None
    duplicate_of: int | None = None
    """The place, in the list as it was shown, of the answer that this one repeats."""


def presentation_orders(
    prompt_id: str, candidates: Sequence[Candidate], *, num_orders: int, seed: int
) -> list[list[Candidate]]:
    """One or two presentation orders, which depend on the seed and the ids alone.

    Two orders always differ: a second shuffle that equals the first is reversed, and a single candidate has one order.
    """

    def shuffled(number: int) -> list[Candidate]:
        return sorted(candidates, key=lambda c: unit_hash("presentation", seed, prompt_id, number, c.candidate_id))

    first = shuffled(1)
    if num_orders == 1 or len(candidates) == 1:
        return [first]
    second = shuffled(2)
    return [first, second if second != first else first[::-1]]


def tag(place: int) -> str:
    """The letters for a place: A, B, ... Z, AA, AB, ... for 0, 1, ..."""
    return (tag(place // 26 - 1) if place >= 26 else "") + LETTERS[place % 26]


def render(path: Path, prompt: Prompt, shown: Sequence[Candidate], **values: Any) -> str:
    """The text of the question, from the template in `path`.

    The template gets `question`, `reference`, `candidates` (each with `tag` and `text`), and `values`. Raises
    SourceError for a template that cannot be used.
    """
    candidates = [{"tag": tag(i), "text": split_thinking(candidate.text).answer} for i, candidate in enumerate(shown)]
    return rendered(
        path, {"question": prompt_as_text(prompt), "reference": prompt.reference, "candidates": candidates, **values}
    )


def scores_schema(num_candidates: int, aspects: Sequence[Aspect], scale: tuple[float, float]) -> Schema:
    """The schema of the reply for `read_scores`; the rationale precedes the scores, so that it can guide them."""
    score = {"type": "number", "minimum": scale[0], "maximum": scale[1]}
    scores = object_schema({aspect.name: score for aspect in aspects})
    entry = object_schema({"rationale": {"type": "string"}, "scores": {"anyOf": [scores, {"type": "null"}]}})
    answers = object_schema({tag(i): {"$ref": "#/$defs/answer"} for i in range(num_candidates)})
    return {"$defs": {"answer": entry}, **object_schema({"candidates": answers})}


def read_scores(
    text: str, *, num_candidates: int, aspects: Sequence[Aspect], scale: tuple[float, float]
) -> list[CandidateScore]:
    """The score of each candidate, in the order shown.

    `candidates` in the reply may be an object by tag, or a list of objects with `tag`. Raises ValueError that says what
    is wrong with the reply.
    """
    entries = read_entries(json_object(text, "candidates")["candidates"], num_candidates=num_candidates)
    return [read_mark(name, entry, aspects, scale) for name, entry in entries.items()]


def read_entries(given: Any, *, num_candidates: int) -> dict[str, dict[str, Any]]:
    """Tag -> entry of each candidate, in the order shown. Raises ValueError unless each tag has one entry."""
    entries = [{"tag": name, **entry} for name, entry in given.items()] if _is_by_tag(given) else given
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("'candidates' is neither an object of objects nor a list of them")
    tags = [tag(i) for i in range(num_candidates)]
    found = [str(entry.get("tag")) for entry in entries]
    check_tags(found, tags)
    by_tag = dict(zip(found, entries, strict=True))
    return {name: by_tag[name] for name in tags}


def check_tags(found: Sequence[str], tags: Sequence[str]) -> None:
    """Raise ValueError unless each tag was given exactly once, and no other."""
    problems = {
        "unknown": sorted(set(found) - set(tags)),
        "missing": [name for name in tags if name not in found],
        "given twice": sorted({name for name in found if found.count(name) > 1}),
    }
    listed = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    if listed:
        raise ValueError(f"the tags must be {', '.join(tags)}, each once; {'; '.join(listed)}")


def _is_by_tag(given: object) -> bool:
    return isinstance(given, dict) and all(isinstance(entry, dict) for entry in given.values())


def read_mark(
    name: str, entry: dict[str, Any], aspects: Sequence[Aspect], scale: tuple[float, float]
) -> CandidateScore:
    """The score in a candidate's entry, a weighted mean. Raises ValueError for scores that are not those asked for."""
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
    if not low <= value <= high:  # NaN fails this, too
        raise ValueError(f"candidate {name}: the score {value} of {aspect!r} is not from {low:g} to {high:g}")
    return float(value)
