"""Executors: who computes the chunks of a map stage. One file each; its file name is its name in a recipe.

An executor is a module with a pydantic model `Settings`, which has a field `executor` and one for each option, and

    def computed(parts, work, settings) -> Iterator[tuple[Part, Rows]]

which gives every part with its rows, in the order in which they are done. A part is in hand from the moment it is taken
from `parts` until its rows are given, so an executor takes no more of them than it is at work on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Part = Sequence[Any]
"""Units of one chunk: each has its `item`."""

Rows = list[Sequence[Any]]
"""One non-empty sequence of output rows for each unit."""


@dataclass(frozen=True, kw_only=True)
class Computation:
    """What is done to each part, and what it takes.

    compute: from the items of a part to one sequence of rows each, in order. ahead: parts that one worker has in hand
    beside the one that it computes; with any, `compute` is called from several threads. gpus: of one worker.
    """

    compute: Callable[[list[Any]], Iterable[Sequence[Any]]]
    ahead: int = 0
    gpus: int = 0

    def rows(self, part: Part) -> Rows:
        return list(self.compute([unit.item for unit in part]))
