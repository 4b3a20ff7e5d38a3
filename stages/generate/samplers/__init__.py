"""Samplers make candidates. Each file is one sampler, and `SamplerPlug` says what the file defines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hasse.data.settings.plugs.kinds import optional

if TYPE_CHECKING:
    from hasse.data.records import Candidate, Prompt
    from hasse.stages.chat.money.estimate import Planned
    from hasse.stages.models.vllm_engine import EngineSettings


class SamplerPlug(Protocol):
    """A sampler. `Settings` has the tag field `sampler`, and `name`, the beginning of its candidates' ids.

    A sampler that needs a model has the field `model`: "student", "teacher" or a name of the recipe's `models`.
    """

    NEEDS_MODEL: bool = False
    """Whether `sample` gets the loaded model that `settings.model` names."""
    RUNS: tuple[str, ...] = ()
    """Modules that another interpreter runs for the sampler: they are in its keys."""
    STREAMS: bool = False
    """Whether `sample` draws prompts one at a time and may get all of them in one call; for endpoints only."""

    @abstractmethod
    def num_candidates(self, settings: Any) -> int:
        """The most candidates that a prompt gets."""

    @abstractmethod
    def sample(
        self, prompts: Sequence[Prompt], settings: Any, model: Any, *, payer: Any = None
    ) -> Iterator[list[Candidate]]:
        """One non-empty list for each prompt, in order. A sampler that defines `questions` takes `payer`."""

    def has_work(self, prompt: Prompt, settings: Any) -> bool:
        """Whether the sampler gives anything for this prompt."""
        return True

    def needs_model(self, settings: Any) -> bool:
        """NEEDS_MODEL, where that depends on the settings."""
        return self.NEEDS_MODEL

    def engine(self, settings: Any) -> EngineSettings | None:
        """The settings of vLLM, if vLLM answers; `sample` then gets a model that is not loaded."""
        return None

    def answers(self, prompt: Prompt, settings: Any) -> tuple[str, ...]:
        """The answers that the sampler takes from the prompt as they are."""
        return ()

    @optional
    def questions(self, prompts: Sequence[Prompt], settings: Any) -> Iterator[Planned]:
        """Give the questions that `sample` would ask, to estimate their cost. Only samplers that ask define this."""
        raise NotImplementedError
