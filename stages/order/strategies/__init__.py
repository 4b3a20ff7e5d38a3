"""Strategies order judged candidates. Each file is one strategy, and `StrategyPlug` says what the file defines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hasse.data.records import PartialOrder
    from hasse.stages.order.judged import JudgedPrompt


class StrategyPlug(Protocol):
    """An ordering strategy. `Settings` has the tag field `strategy`, and `chunk_size`, as in `StrategySettings`."""

    @abstractmethod
    def orders(self, items: Sequence[JudgedPrompt], settings: Any) -> Iterator[PartialOrder]:
        """One order for each prompt, in order."""

    def external(self, settings: Any) -> dict[str, str]:
        """Name -> digest of each file that the strategy reads."""
        return {}
