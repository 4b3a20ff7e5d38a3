"""Executors compute the chunks of a map stage. Each file is one executor; `ExecutorPlug` says what the file defines."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Part = Sequence[Any]
"""The units of one chunk; each has an `item`."""

Rows = list[Sequence[Any]]
"""One non-empty sequence of output rows for each unit."""


@dataclass(frozen=True, kw_only=True)
class Computation:
    """The work on each part, and the resources that it needs.

    compute: makes, in order, one sequence of rows for each item of a part. ahead: how many further parts a worker
    computes at the same time; if there are any, `compute` is called from several threads. gpus: GPUs of one worker.
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
