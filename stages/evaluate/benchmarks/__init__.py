"""Tests that models are known by; one file is one benchmark, and `BenchmarkPlug` says what the file defines."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkItem:
    """One question. task: what results are also reported by; data: what scoring needs to know."""

    item_id: str
    task: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """value: 0 to 1, the benchmark's own measure of one answer; certain: whether its rule could read the answer."""

    value: float
    certain: bool = True
    label: str | None = None
    """What was read out of the answer, if anything."""


class BenchmarkPlug(Protocol):
    """A benchmark. `Settings` has the tag field `benchmark`, and `max_tokens`, the limit of an answer."""

    @abstractmethod
    def external(self, settings: Any) -> dict[str, str]:
        """Name -> digest of each file that the benchmark reads."""

    @abstractmethod
    def items(self, settings: Any) -> list[BenchmarkItem]:
        """The questions of the benchmark."""

    @abstractmethod
    def score(self, item: BenchmarkItem, text: str) -> Score:
        """The score of one answer by the benchmark's own rules, without side effects."""

    @abstractmethod
    def summary(self, scored: Sequence[tuple[BenchmarkItem, Score]]) -> dict[str, float]:
        """The benchmark's own numbers, from all items with their scores."""
