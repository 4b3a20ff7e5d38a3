"""Teacher `recorded`: judgements from a file, made elsewhere or by an earlier run.

The file is JSONL, CSV or Parquet. A row is about one candidate and has its total, its scores by aspect, or both,

    {"prompt_id": "9f2c", "candidate_id": "student-0", "total": 7.5, "aspects": {"clarity": 8}, "rationale": "..."}

or it has the raw text of a review of two answers, as GPT-4 wrote for Vicuna, and the slot in which the review showed
this candidate:

    {"prompt_id": "9f2c", "candidate_id": "student-0", "slot": 2, "reply": "9 8\nAssistant 1 provided ..."}

A row without a total has the mean of its aspects as total. A row may have a `status` other than ok. The tables of
judgements in the store can be read, too.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import InputError, SourceError
from hasse.data.records import STATUSES, AspectScore, Candidate, Judgement, Presentation, Prompt
from hasse.data.settings import Config, unkeyed
from hasse.data.tables import Row, read_rows
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.grading import TaskSettings, stated
from hasse.stages.judge.review_scores import two_scores

NEEDS_MODEL = False


class Settings(Config):
    teacher: Literal["recorded"] = "recorded"
    path: str = unkeyed(description="The file with the judgements; its content enters the key.")
    missing: Literal["error", "filtered"] = Field(
        default="error",
        description="error: a candidate without a row stops the run; filtered: its judgement has that status.",
    )
    chunk_size: int = unkeyed(2000, ge=1, description="Prompts between two commits to the store.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedJudgement:
    """The judgement that one row holds."""

    total: float | None
    aspects: tuple[AspectScore, ...] = ()
    slot: int | None = None
    rationale: str | None = None
    status: str = "ok"
    error: str | None = None


def external(settings: Settings) -> dict[str, str]:
    path = Path(settings.path)
    if not path.is_file():
        raise SourceError("there is no such file", file=path)
    return {"judgements": file_digest(path)}


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]], settings: Settings, task: TaskSettings, model: None
) -> Iterator[list[Judgement]]:
    path = Path(settings.path)
    recorded = _read(path, path.stat().st_mtime_ns)
    for prompt, candidates in items:
        yield [
            _judgement(prompt, c, recorded.get((c.prompt_id, c.candidate_id)) or _missing(c, settings), task)
            for c in candidates
        ]


def _missing(candidate: Candidate, settings: Settings) -> RecordedJudgement:
    what = f"{settings.path} has no row of prompt {candidate.prompt_id}, candidate {candidate.candidate_id}"
    if settings.missing == "error":
        raise InputError(f"{what}; add it, or set judge.missing: filtered")
    return RecordedJudgement(total=None, status="filtered", error=what)


def _judgement(prompt: Prompt, candidate: Candidate, found: RecordedJudgement, task: TaskSettings) -> Judgement:
    label, correct = stated(candidate.text, prompt, task)
    return Judgement(
        prompt_id=candidate.prompt_id,
        candidate_id=candidate.candidate_id,
        teacher="recorded",
        aspects=found.aspects,
        total=found.total,
        label=label,
        correct=correct,
        rationale=found.rationale,
        presentations=(Presentation(slot=found.slot, total=found.total),) if found.slot else (),
        status=found.status,  # type: ignore[arg-type]  one of the statuses
        error=found.error,
    )


@lru_cache(maxsize=2)
def _read(path: Path, modified: int) -> dict[tuple[str, str], RecordedJudgement]:
    """(prompt_id, candidate_id) -> judgement. Raises SourceError for a row that is unusable or contradicts another."""
    found: dict[tuple[str, str], RecordedJudgement] = {}
    rows: dict[tuple[str, str], int] = {}
    for number, row in read_rows(path):
        ids = (_id(row, "prompt_id", path, number), _id(row, "candidate_id", path, number))
        recorded = _recorded(row, path, number)
        if found.setdefault(ids, recorded) != recorded:
            raise SourceError(
                f"judges prompt {ids[0]}, candidate {ids[1]} otherwise than row {rows[ids]}; keep one of the two",
                file=path,
                row=number,
            )
        rows.setdefault(ids, number)
    return found


def _id(row: Row, field: str, path: Path, number: int) -> str:
    if row.get(field) in (None, ""):
        raise SourceError("is missing", file=path, row=number, field=field)
    return str(row[field])


def _recorded(row: Row, path: Path, number: int) -> RecordedJudgement:
    status = row.get("status") or "ok"
    if status not in STATUSES:
        raise SourceError(f"{status!r} is none of {', '.join(STATUSES)}", file=path, row=number, field="status")
    if status != "ok":
        return RecordedJudgement(total=None, status=status, error=row.get("error") or "recorded without a judgement")
    if row.get("reply"):
        return _reviewed(str(row["reply"]), row.get("slot"), path, number)
    aspects = _aspects(row.get("aspects"), path, number)
    if row.get("total") not in (None, ""):
        total = _number(row["total"], "total", path, number)
    elif aspects:
        total = fmean(aspect.score for aspect in aspects)
    else:
        raise SourceError(
            "is missing; a row has total, aspects, or reply with slot", file=path, row=number, field="total"
        )
    return RecordedJudgement(total=total, aspects=aspects, rationale=row.get("rationale") or None)


def _reviewed(reply: str, slot: object, path: Path, number: int) -> RecordedJudgement:
    if str(slot) not in ("1", "2"):
        raise SourceError(
            f"is {slot!r}; it must be 1 or 2, as the candidate was shown", file=path, row=number, field="slot"
        )
    place, scores = int(str(slot)), two_scores(reply)
    if scores is None:
        return RecordedJudgement(
            total=None, slot=place, rationale=reply, status="unparsable", error="the review states no two scores"
        )
    return RecordedJudgement(total=scores[place - 1], slot=place, rationale=reply)


def _aspects(given: Any, path: Path, number: int) -> tuple[AspectScore, ...]:
    """The scores from {name: score}, from [{"name": ..., "score": ...}], or from the JSON text of either, in CSV."""
    try:
        given = json.loads(given) if isinstance(given, str) and given else given or {}
        pairs = given.items() if isinstance(given, dict) else [(item["name"], item["score"]) for item in given]
    except (ValueError, TypeError, KeyError):
        raise SourceError("must be scores by name, as {'clarity': 8}", file=path, row=number, field="aspects") from None
    return tuple(
        AspectScore(name=str(name), score=_number(score, "aspects", path, number))
        for name, score in pairs
        if score is not None  # Parquet adds the names that a struct lacks, with null
    )


def _number(value: object, field: str, path: Path, number: int) -> float:
    try:
        found = float(str(value))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise SourceError(f"{value!r} is not a finite number", file=path, row=number, field=field)
    return found
