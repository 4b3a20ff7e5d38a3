"""Join tables that are sorted by prompt_id. A join takes one pass and holds a few prompts in memory."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

R = TypeVar("R")

CANDIDATE_COLUMNS = ["prompt_id", "candidate_id", "text", "finish_reason", "source", "status", "error"]
"""The columns of a candidate that judging and ordering read when they need no tokens."""

_by_prompt = attrgetter("prompt_id")


def by_prompt(rows: Iterable[R]) -> Iterator[tuple[str, list[R]]]:
    """Group rows that are sorted by prompt_id: (prompt_id, its rows)."""
    for prompt_id, group in groupby(rows, key=_by_prompt):
        yield prompt_id, list(group)


def join(left: Iterable[Any], *others: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """(left row, its rows in each other table). All tables are sorted by prompt_id, which is unique in the left one."""
    streams = [_Stream(rows) for rows in others]
    for row in left:
        yield row, *(stream.take(row.prompt_id) for stream in streams)


class _Stream:
    def __init__(self, rows: Iterable[Any]):
        self.groups = by_prompt(rows)
        self.head = next(self.groups, None)

    def take(self, prompt_id: str) -> list[Any]:
        while self.head is not None and self.head[0] < prompt_id:
            self.head = next(self.groups, None)
        if self.head is None or self.head[0] != prompt_id:
            return []
        rows, self.head = self.head[1], next(self.groups, None)
        return rows
