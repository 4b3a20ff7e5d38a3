"""Explicit pairs from a JSONL, CSV or Parquet file with the columns prompt_id, above, below and, optionally, margin.

`above` and `below` are candidate ids as `hasse inspect` shows them. Pairs that follow from other pairs are added. Pairs
that contradict each other are an error, which names the prompt. A prompt without pairs has an empty order.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from hasse.data.errors import SourceError
from hasse.data.records import OrderedPair, PartialOrder
from hasse.data.settings import unkeyed
from hasse.data.tables import read_rows
from hasse.pipeline.fingerprint import file_digest
from hasse.stages.order.judged import JudgedPrompt, StrategySettings, humans
from hasse.stages.order.partial_order import from_pairs

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


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    pairs_in_file = _read(settings.path, Path(settings.path).stat().st_mtime_ns)
    for prompt, judged in items:
        known = [candidate.candidate_id for candidate, _ in judged]
        pairs = []
        for row, pair in pairs_in_file.get(prompt.prompt_id, []):
            missing = [(f, i) for f, i in (("above", pair.above), ("below", pair.below)) if i not in known]
            if not missing:
                pairs.append(pair)
            elif settings.unknown_candidates == "error":
                field, name = missing[0]
                raise SourceError(
                    f"prompt {prompt.prompt_id} has no candidate {name!r}; it has {', '.join(sorted(known))}",
                    file=settings.path,
                    row=row,
                    field=field,
                )
        yield from_pairs(prompt.prompt_id, known, pairs, humans=humans(judged))


@lru_cache(maxsize=2)
def _read(path: str, modified: int) -> dict[str, list[tuple[int, OrderedPair]]]:
    """prompt_id -> (row number, pair) of its rows; `modified` makes a changed file another key of the cache."""
    by_prompt: dict[str, list[tuple[int, OrderedPair]]] = {}
    for number, row in read_rows(Path(path)):
        for column in COLUMNS:
            if not row.get(column):
                raise SourceError(f"is missing; a pair has {', '.join(COLUMNS)}", file=path, row=number, field=column)
        by_prompt.setdefault(str(row["prompt_id"]), []).append((number, _pair(row, path, number)))
    return by_prompt


def _pair(row: dict, path: str, number: int) -> OrderedPair:
    try:
        margin = float(row.get("margin") or 0.0)
    except (TypeError, ValueError):
        raise SourceError(f"{row['margin']!r} is not a number", file=path, row=number, field="margin") from None
    if not 0 <= margin < float("inf"):
        raise SourceError(f"{margin} is not a finite number from 0", file=path, row=number, field="margin")
    return OrderedPair(above=str(row["above"]), below=str(row["below"]), margin=margin)
