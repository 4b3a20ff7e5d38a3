"""Verdicts from a file: pairs that judges compared, or lists that they ranked; any subset, ties, several judges.

JSONL, CSV or Parquet. A row is a comparison of two candidates,

    {"prompt_id": "9f2c", "a": "student-0", "b": "student-1", "verdict": "a", "judge": "ann", "weight": 1}

with the verdict a, b, tie or abstain, or (JSONL, Parquet) a list from best to worst, tied candidates in a list,

    {"prompt_id": "9f2c", "ranking": ["human-0", ["student-0", "student-2"], "student-1"], "judge": "gpt"}

`judge` and `weight` may be left out. Candidates that were never compared stay incomparable.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.records import OrderedPair, PartialOrder, Prompt
from hasse.data.settings import unkeyed
from hasse.data.tables import read_rows
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.order.majority import (
    Verdict,
    bradley_terry,
    break_cycles,
    from_ranking,
    majority,
    ordered_pairs,
    refuse_cycles,
    tally,
)
from hasse.stages.order.partial_order import Judged, StrategySettings, from_levels, from_pairs, transitive_closure

WORDS = ("a", "b", "tie", "abstain")


class Settings(StrategySettings):
    strategy: Literal["verdicts"] = "verdicts"
    path: str = unkeyed(description="The file with the verdicts.")
    aggregate: Literal["majority", "bradley_terry"] = Field(
        default="majority",
        description="majority: only compared pairs are ordered; bradley_terry: all of them, by fitted strengths.",
    )
    band: float = Field(
        default=0.0,
        ge=0,
        description="Indifference: of a pair's balance (-1 to 1) with majority, of the strengths with bradley_terry.",
    )
    cycles: Literal["refuse", "break"] = Field(
        default="refuse", description="refuse: an error that names the prompt; break: the weakest pair goes, counted."
    )
    implied: bool = Field(
        default=False, description="Also add the pairs that follow from others, though nobody compared them."
    )
    judge_weights: dict[str, float] = Field(
        default_factory=dict, description="Judge -> weight of its verdicts, times the row's own. Others: 1."
    )


def external(settings: Settings) -> dict[str, str]:
    path = Path(settings.path)
    if not path.is_file():
        raise SourceError("there is no such file", file=path)
    return {"verdicts": file_digest(path)}


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    path = Path(settings.path)
    given = _read(path, path.stat().st_mtime_ns, tuple(sorted(settings.judge_weights.items())))
    for prompt, judged in items:
        rows = given.get(prompt.prompt_id, [])
        _check_candidates(prompt, judged, rows, path)
        yield order([v for _, verdicts in rows for v in verdicts], prompt.prompt_id, judged, settings)


def order(verdicts: list[Verdict], prompt_id: str, judged: list[Judged], settings: Settings) -> PartialOrder:
    """The order of these verdicts. Raises InputError for a cycle, where these are refused."""
    candidates = [candidate for candidate, _ in judged]
    tallies = tally(verdicts)
    if settings.aggregate == "bradley_terry":
        strength = bradley_terry(tallies)
        levels = [strength.get(c.candidate_id) for c in candidates]
        return from_levels(prompt_id, candidates, levels, strategy="verdicts", good=float("-inf"), band=settings.band)
    edges, dropped = majority(tallies, band=settings.band), []
    if settings.cycles == "break":
        kept, dropped = break_cycles(edges)
    else:
        kept = refuse_cycles(edges, where=f"prompt {prompt_id}")
    if settings.implied:
        kept = transitive_closure(kept, where=f"prompt {prompt_id}")
    pairs: list[OrderedPair] = ordered_pairs(kept)
    return from_pairs(
        prompt_id, candidates, pairs, strategy="verdicts", implied=False, dropped=tuple(ordered_pairs(dropped))
    )


def _check_candidates(prompt: Prompt, judged: list[Judged], rows: list[tuple[int, list[Verdict]]], path: Path) -> None:
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
) -> dict[str, list[tuple[int, list[Verdict]]]]:
    """Prompt id -> (row number, verdicts) of its rows."""
    weights = dict(judge_weights)
    found: dict[str, list[tuple[int, list[Verdict]]]] = {}
    for number, row in read_rows(path):
        if not row.get("prompt_id"):
            raise SourceError("is missing", file=path, row=number, field="prompt_id")
        weight = _number(row, path, number) * weights.get(str(row.get("judge")), 1.0)
        read = _ranked if row.get("ranking") else _compared
        found.setdefault(str(row["prompt_id"]), []).append((number, read(row, weight, path, number)))
    return found


def _compared(row: dict[str, Any], weight: float, path: Path, number: int) -> list[Verdict]:
    for field in ("a", "b", "verdict"):
        if not row.get(field):
            raise SourceError("is missing; a row has a, b and verdict, or ranking", file=path, row=number, field=field)
    a, b, word = str(row["a"]), str(row["b"]), str(row["verdict"]).lower()
    if word not in WORDS:
        raise SourceError(f"{word!r} is none of {', '.join(WORDS)}", file=path, row=number, field="verdict")
    if a == b:
        raise SourceError(f"{a!r} is compared with itself", file=path, row=number, field="b")
    better = {"a": a, "b": b}.get(word)
    return [] if word == "abstain" else [Verdict(a=a, b=b, better=better, weight=weight)]


def _ranked(row: dict[str, Any], weight: float, path: Path, number: int) -> list[Verdict]:
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
