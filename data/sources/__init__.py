"""Sources of prompts. Each file is one source, and `SourcePlug` says what the file defines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hasse.data.raw_prompt import RawPrompt


class SourcePlug(Protocol):
    """A source of prompts. `Settings` has the tag field `kind`."""

    MIXES_ROWS: bool = False
    """Whether a prompt shows parts of other rows, so that a new row changes old prompts. `hasse nightly` refuses it."""

    HAS_GOLD: bool = True
    """Whether a prompt may have a gold label or gold answers. A table is asked by its field mapping instead."""

    @abstractmethod
    def rows(self, settings: Any) -> Iterator[RawPrompt]:
        """The prompts in the order of the source. Raises SourceError, with file, row and field."""

    def instruction(self, settings: Any) -> str:
        """What the rows leave unsaid: the text before each question. Empty where the rows ask by themselves."""
        return ""

    @abstractmethod
    def digest(self, settings: Any) -> str:
        """The sha256 of the bytes that are read; "" where the settings decide everything."""
