"""Verdicts from a file: comparisons of two candidates, or ranked lists, by one or several judges.

The file is JSONL, CSV or Parquet. A row is a comparison of two candidates,

    {"prompt_id": "9f2c", "a": "student-0", "b": "student-1", "verdict": "a", "judge": "ann", "weight": 1}

with the verdict a, b, tie or abstain; or, in JSONL and Parquet, a ranking from best to worst, with tied candidates in a
list of their own:

    {"prompt_id": "9f2c", "ranking": ["human-0", ["student-0", "student-2"], "student-1"], "judge": "gpt"}

`judge` and `weight` may be left out. Candidates that were never compared stay incomparable.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.records import PartialOrder, Prompt
from hasse.data.settings import unkeyed
from hasse.data.tables import read_rows
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.order.judged import Judged, JudgedPrompt, StrategySettings, humans
from hasse.stages.order.majority import (
    WeightedVerdict,
    bradley_terry,
    break_cycles,
    from_ranking,
    majority,
    refuse_cycles,
    tally,
)
from hasse.stages.order.partial_order import from_levels, from_pairs, transitive_closure

WORDS = ("a", "b", "tie", "abstain")


class Settings(StrategySettings):
    strategy: Literal["verdicts"] = "verdicts"
    path: str = unkeyed(description="The file with the verdicts.")
    aggregate: Literal["majority", "bradley_terry"] = Field(
        default="majority",
        description="majority: only compared pairs are ordered; bradley_terry: all pairs are, by fitted strengths.",
    )
    band: float = Field(
        default=0.0,
        ge=0,
        description="Indifference: of a pair's balance (-1 to 1) with majority, of the strengths with bradley_terry.",
    )
    cycles: Literal["refuse", "break"] = Field(
        default="refuse",
        description="refuse: an error that names the prompt; break: the weakest pair is dropped and counted.",
    )
    implied: bool = Field(
        default=False, description="Whether pairs that nobody compared are added when they follow from compared pairs."
    )
    judge_weights: dict[str, float] = Field(
        default_factory=dict, description="Judge -> weight of its verdicts, times the row's own. Others: 1."
    )


def external(settings: Settings) -> dict[str, str]:
    path = Path(settings.path)
    if not path.is_file():
        raise SourceError("there is no such file", file=path)
    return {"verdicts": file_digest(path)}


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    path = Path(settings.path)
    verdicts_in_file = _read(path, path.stat().st_mtime_ns, tuple(sorted(settings.judge_weights.items())))
    for prompt, judged in items:
        rows = verdicts_in_file.get(prompt.prompt_id, [])
        _check_candidates(prompt, judged, rows, path)
        yield order([v for _, verdicts in rows for v in verdicts], prompt.prompt_id, judged, settings)


def order(
    verdicts: list[WeightedVerdict], prompt_id: str, judged: Sequence[Judged], settings: Settings
) -> PartialOrder:
    """The order of these verdicts. Raises InputError for a cycle if `settings.cycles` is `refuse`."""
    ids = [candidate.candidate_id for candidate, _ in judged]
    tallies = tally(verdicts)
    if settings.aggregate == "bradley_terry":
        strength = bradley_terry(tallies)
        levels = {name: strength.get(name) for name in ids}
        return from_levels(prompt_id, levels, band=settings.band, humans=humans(judged), strategy="verdicts")
    edges, dropped = majority(tallies, band=settings.band), []
    if settings.cycles == "break":
        kept, dropped = break_cycles(edges)
    else:
        kept = refuse_cycles(edges, where=f"prompt {prompt_id}")
    if settings.implied:
        kept = transitive_closure(kept, where=f"prompt {prompt_id}")
    return from_pairs(prompt_id, ids, kept, implied=False, humans=humans(judged), dropped=dropped, strategy="verdicts")


def _check_candidates(
    prompt: Prompt, judged: Sequence[Judged], rows: list[tuple[int, list[WeightedVerdict]]], path: Path
) -> None:
    known = {candidate.candidate_id for candidate, _ in judged}
    for number, verdicts in rows:
        for name in (name for v in verdicts for name in (v.a, v.b)):
            if name not in known:
                raise SourceError(
                    f"prompt {prompt.prompt_id} has no candidate {name!r}; it has {', '.join(sorted(known))}",
                    file=path,
                    row=number,
                )


@lru_cache(maxsize=2)
def _read(
    path: Path, modified: int, judge_weights: tuple[tuple[str, float], ...]
) -> dict[str, list[tuple[int, list[WeightedVerdict]]]]:
    """prompt_id -> (row number, verdicts) of its rows; `modified` makes a changed file another key of the cache."""
    weights = dict(judge_weights)
    by_prompt: dict[str, list[tuple[int, list[WeightedVerdict]]]] = {}
    for number, row in read_rows(path):
        if not row.get("prompt_id"):
            raise SourceError("is missing", file=path, row=number, field="prompt_id")
        weight = _number(row, path, number) * weights.get(str(row.get("judge")), 1.0)
        read = _ranked if row.get("ranking") else _compared
        by_prompt.setdefault(str(row["prompt_id"]), []).append((number, read(row, weight, path, number)))
    return by_prompt


def _compared(row: dict[str, Any], weight: float, path: Path, number: int) -> list[WeightedVerdict]:
    for field in ("a", "b", "verdict"):
        if not row.get(field):
            raise SourceError("is missing; a row has a, b and verdict, or ranking", file=path, row=number, field=field)
    a, b, word = str(row["a"]), str(row["b"]), str(row["verdict"]).lower()
    if word not in WORDS:
        raise SourceError(f"{word!r} is none of {', '.join(WORDS)}", file=path, row=number, field="verdict")
    if a == b:
        raise SourceError(f"{a!r} is compared with itself", file=path, row=number, field="b")
    better = {"a": a, "b": b}.get(word)
    return [] if word == "abstain" else [WeightedVerdict(a=a, b=b, better=better, weight=weight)]


def _ranked(row: dict[str, Any], weight: float, path: Path, number: int) -> list[WeightedVerdict]:
    given = row["ranking"]
    if not isinstance(given, list):
        raise SourceError("must be a list from best to worst", file=path, row=number, field="ranking")
    ranking = [[str(name) for name in (tied if isinstance(tied, list) else [tied])] for tied in given]
    names = [name for tied in ranking for name in tied]
    if len(set(names)) < len(names):
        raise SourceError("names a candidate twice", file=path, row=number, field="ranking")
    return from_ranking(ranking, weight=weight)


def _number(row: dict[str, Any], path: Path, number: int) -> float:
    given = row.get("weight")
    if given in (None, ""):
        return 1.0
    try:
        weight = float(given)
    except (TypeError, ValueError):
        raise SourceError(f"{given!r} is not a number", file=path, row=number, field="weight") from None
    if not 0 <= weight < float("inf"):
        raise SourceError(f"{weight} is not a finite number from 0", file=path, row=number, field="weight")
    return weight
