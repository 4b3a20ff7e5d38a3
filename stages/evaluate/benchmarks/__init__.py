"""Tests that models are known by; one file is one benchmark.

A benchmark module has
    class Settings(Config)                       its section of the recipe, with `path`
    def items(settings) -> list[BenchmarkItem]   what is asked
    def score(item, text) -> Score               pure: one answer, by the benchmark's own rules
    def summary(scored) -> dict[str, float]      from all (BenchmarkItem, Score) to the benchmark's own numbers
"""

from dataclasses import dataclass, field
from typing import Any


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
