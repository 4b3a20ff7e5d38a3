"""Who computes the chunks of a map stage; one file is one executor, and `ExecutorPlug` says what the file defines."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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


class ExecutorPlug(Protocol):
    """An executor. `Settings` has the tag field `executor`. Executors come with hasse alone."""

    @abstractmethod
    def computed(self, parts: Iterable[Part], work: Computation, settings: Any) -> Iterator[tuple[Part, Rows]]:
        """Every part with its rows, in the order in which the parts are done.

        A part is in hand from the moment it is taken from `parts` until its rows are given, so an executor takes no
        more parts than it is at work on.
        """
