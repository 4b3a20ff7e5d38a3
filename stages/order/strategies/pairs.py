"""Explicit pairs from a file: JSONL, CSV or Parquet with prompt_id, above, below and, if wanted, margin.

`above` and `below` are candidate ids as `hasse inspect` shows them. Pairs that follow from others are added; a prompt
whose pairs contradict each other is an error that names it; a prompt without pairs has an empty order.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.records import OrderedPair, PartialOrder, Prompt
from hasse.data.settings import unkeyed
from hasse.data.tables import read_rows
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.order.partial_order import Judged, StrategySettings, from_pairs

COLUMNS = ("prompt_id", "above", "below")


class Settings(StrategySettings):
    strategy: Literal["pairs"] = "pairs"
    path: str = unkeyed(description="The file with the pairs.")
    unknown_candidates: str = Field(
        default="error",
        pattern="^(error|skip)$",
        description="error or skip: what to do with a pair of ids that do not exist.",
    )


def external(settings: Settings) -> dict[str, str]:
    path = Path(settings.path)
    if not path.is_file():
        raise SourceError("there is no such file", file=path)
    return {"pairs": file_digest(path)}


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    given = _read(settings.path, Path(settings.path).stat().st_mtime_ns)
    for prompt, judged in items:
        candidates = [candidate for candidate, _ in judged]
        known = {candidate.candidate_id for candidate in candidates}
        pairs = []
        for row, pair in given.get(prompt.prompt_id, []):
            missing = [(f, i) for f, i in (("above", pair.above), ("below", pair.below)) if i not in known]
            if not missing:
                pairs.append(pair)
            elif settings.unknown_candidates == "error":
                field, found = missing[0]
                raise SourceError(
                    f"prompt {prompt.prompt_id} has no candidate {found!r}; it has {', '.join(sorted(known))}",
                    file=settings.path,
                    row=row,
                    field=field,
                )
        yield from_pairs(prompt.prompt_id, candidates, pairs, strategy="pairs")


@lru_cache(maxsize=2)
def _read(path: str, modified: int) -> dict[str, list[tuple[int, OrderedPair]]]:
    found: dict[str, list[tuple[int, OrderedPair]]] = {}
    for number, row in read_rows(Path(path)):
        for column in COLUMNS:
            if not row.get(column):
                raise SourceError(f"is missing; a pair has {', '.join(COLUMNS)}", file=path, row=number, field=column)
        found.setdefault(str(row["prompt_id"]), []).append((number, _pair(row, path, number)))
    return found


def _pair(row: dict, path: str, number: int) -> OrderedPair:
    try:
        margin = float(row.get("margin") or 0.0)
    except (TypeError, ValueError):
        raise SourceError(f"{row['margin']!r} is not a number", file=path, row=number, field="margin") from None
    if not 0 <= margin < float("inf"):
        raise SourceError(f"{margin} is not a finite number from 0", file=path, row=number, field="margin")
    return OrderedPair(above=str(row["above"]), below=str(row["below"]), margin=margin)
