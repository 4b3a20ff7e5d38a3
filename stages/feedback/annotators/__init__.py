"""Annotators say in words what is right or wrong with an answer. Each file is one annotator, see `AnnotatorPlug`.

People annotate through a queue file instead: `hasse annotate`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from hasse.data.settings.plugs.kinds import optional

if TYPE_CHECKING:
    from hasse.data.records import Feedback
    from hasse.stages.chat.money.estimate import Planned
    from hasse.stages.feedback.items import AnnotationItem
    from hasse.stages.grading.task import TaskSettings


class AnnotatorPlug(Protocol):
    """An annotator. `Settings` has the tag field `annotator`. An item is a prompt, one answer and its judgement."""

    @abstractmethod
    def annotate(
        self, items: Iterable[AnnotationItem], settings: Any, task: TaskSettings, *, payer: Any = None
    ) -> Iterator[Feedback]:
        """One feedback for each item, in order. An annotator that defines `questions` takes `payer`."""

    @optional
    def questions(self, items: Iterable[AnnotationItem], settings: Any, task: TaskSettings) -> Iterator[Planned]:
        """Give the questions that `annotate` would ask a chat endpoint. Only annotators that ask define this."""
        raise NotImplementedError
