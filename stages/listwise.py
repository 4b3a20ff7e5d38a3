"""One question that shows all candidates of a prompt, and the scores in its reply.

Candidates are shown under letters, never under their ids, which say where an answer comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, TemplateError
from pydantic import Field

from data.config import Config
from data.errors import SourceError
from data.records import AspectScore, Candidate, Prompt
from data.text import unit_hash
from stages.json_replies import json_object

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Aspect(Config):
    """What a judge looks at."""

    name: str = Field(min_length=1, description="As it stands in the reply.")
    description: str = Field(description="What it means, in one line.")
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="In the total, a weighted mean.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A judge's scores of one candidate, in the aspects' order."""

    aspects: tuple[AspectScore, ...]
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
    turns = prompt.messages or ()
    question = "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns) if len(turns) > 1 else prompt.text
    candidates = [{"tag": tag(i), "text": candidate.text} for i, candidate in enumerate(shown)]
    try:
        return _template(path, path.stat().st_mtime_ns).render(
            question=question, reference=prompt.reference, candidates=candidates, **values
        )
    except (TemplateError, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be used as a template: {error}", file=path) from error


def read_scores(
    text: str, *, num_candidates: int, aspects: Sequence[Aspect], scale: tuple[float, float]
) -> list[Scores]:
    """The scores of each candidate, in the order shown. Raises ValueError that says what is wrong with the reply."""
    entries = json_object(text, "candidates")["candidates"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("'candidates' is no list of objects")
    tags = [tag(i) for i in range(num_candidates)]
    by_tag = _by_tag(entries, tags)
    return [_scores(name, by_tag[name], aspects, scale) for name in tags]


def weighted_mean(scores: Mapping[str, float], aspects: Sequence[Aspect]) -> float:
    """To six decimals, so that rounding errors make no order out of a tie."""
    return round(sum(a.weight * scores[a.name] for a in aspects) / sum(a.weight for a in aspects), 6)


def _by_tag(entries: list[dict[str, Any]], tags: list[str]) -> dict[str, dict[str, Any]]:
    found = [str(entry.get("tag")) for entry in entries]
    problems = {
        "unknown": sorted(set(found) - set(tags)),
        "missing": [name for name in tags if name not in found],
        "given twice": sorted({name for name in found if found.count(name) > 1}),
    }
    said = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    if said:
        raise ValueError(f"the tags must be {', '.join(tags)}, each once; {'; '.join(said)}")
    return dict(zip(found, entries, strict=True))


def _scores(name: str, entry: dict[str, Any], aspects: Sequence[Aspect], scale: tuple[float, float]) -> Scores:
    given = entry.get("scores")
    if not isinstance(given, dict):
        raise ValueError(f"candidate {name} has no object 'scores'")
    unknown = sorted(set(given) - {aspect.name for aspect in aspects})
    if unknown:
        raise ValueError(f"candidate {name} has scores of unknown aspects: {', '.join(unknown)}")
    rationale = entry.get("rationale")
    return Scores(
        aspects=tuple(AspectScore(name=a.name, score=_number(name, a.name, given.get(a.name), scale)) for a in aspects),
        rationale=rationale if isinstance(rationale, str) and rationale.strip() else None,
    )


def _number(name: str, aspect: str, value: object, scale: tuple[float, float]) -> float:
    low, high = scale
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"candidate {name}: the score of {aspect!r} is {value!r}; a number is needed")
    if not low <= value <= high:  # NaN is not either
        raise ValueError(f"candidate {name}: the score {value} of {aspect!r} is not from {low:g} to {high:g}")
    return float(value)


@lru_cache(maxsize=8)
def _template(path: Path, modified: int) -> Template:
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    return environment.from_string(path.read_text(encoding="utf-8"))
