"""Teachers score candidates. Each file is one teacher, and `TeacherPlug` says what the file defines.

`items` are pairs of a prompt and its candidates; `task` says what a right answer is; `model` is a LazyModel or None.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hasse.data.settings.plugs.kinds import optional

if TYPE_CHECKING:
    from hasse.data.records import Candidate, Judgement, Prompt
    from hasse.stages.chat.money.estimate import Planned
    from hasse.stages.grading.task import TaskSettings


class TeacherTraits(Protocol):
    """The members that every teacher may define."""

    NEEDS_MODEL: bool = False
    """Whether the teacher scores by the recipe's `teacher` model."""
    NEEDS_TOKENS: bool = False
    """Whether the teacher reads the candidates' token ids and log-probs beside their texts."""
    IN_CHILD: bool = False
    """Whether the teacher loads a model of its own, and so runs in a child process."""
    OWN_PROCESS: bool = False
    """Whether its model answers in another process, so that the next chunk may be prepared meanwhile."""
    RUNS: tuple[str, ...] = ()
    """Modules that another interpreter runs for the teacher: they are in its keys."""
    REPEATS: bool = False
    """Whether the same question may be answered otherwise the next time; `judge` then takes `repeat`."""

    def own_process(self, settings: Any) -> bool:
        """OWN_PROCESS, where that depends on the settings."""
        return self.OWN_PROCESS

    def external(self, settings: Any) -> dict[str, str]:
        """Name -> digest of each file or model that the teacher reads."""
        return {}

    def members(self, settings: Any) -> dict[str, Any]:
        """Name -> settings of each judge of a panel."""
        return {}

    def close(self) -> None:
        """Give the memory of a model back."""

    @optional
    def questions(self, items: Iterable[tuple[Prompt, list[Candidate]]], settings: Any) -> Iterator[Planned]:
        """Give the questions that `judge` would ask, to estimate their cost. Only teachers that ask define this."""
        raise NotImplementedError


class TeacherPlug(TeacherTraits, Protocol):
    """A teacher. `Settings` has the tag field `teacher`, and `chunk_size`, the prompts between two commits."""

    @abstractmethod
    def judge(
        self,
        items: Iterable[tuple[Prompt, list[Candidate]]],
        settings: Any,
        task: TaskSettings,
        model: Any,
        *,
        payer: Any = None,
        repeat: int = 0,
    ) -> Iterator[list[Judgement]]:
        """Give, for each prompt in order, one judgement for each candidate in order.

        A teacher that defines `questions` takes `payer`. `repeat` is a number that makes a question another one.
        """


class TeacherPanel(TeacherTraits, Protocol):
    """A teacher that puts together what other teachers say. The file says PLUG = "TeacherPanel"."""

    @abstractmethod
    def members(self, settings: Any) -> dict[str, Any]:
        """Name -> settings of each judge, as if it judged alone."""

    @abstractmethod
    def combine(
        self,
        prompt: Prompt,
        candidates: Sequence[Candidate],
        judgements: Mapping[str, Sequence[Judgement]],
        settings: Any,
        task: TaskSettings,
    ) -> list[Judgement]:
        """One judgement for each candidate. judgements: judge -> one judgement for each candidate, in order."""
