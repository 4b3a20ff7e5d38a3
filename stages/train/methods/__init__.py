"""Methods train a student. Each file is one method, and `MethodPlug` says what the file defines.

`loss` gets `policy: SequenceLogps` (log-probs in nats: `sum_N` per completion, `mean_N` per token, `logp_T` of each
token) and `batch: CandidateBatch` (`pairs_P2`, `margin_P`, `target_B`, `prompt_N`, `reference_N`). The loss is a
scalar; dividing by the totals of `batch.step` makes it the batch's share of the step's mean. A metric is (sum, number
of things summed). A method with a reward head gets `policy: SequenceRewards`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from hasse.data.records import TrainingExample
    from hasse.stages.scoring.batch import CandidateBatch


class MethodTraits(Protocol):
    """The members that every method may define. A method with these alone is planned as a chain of steps, like PIT."""

    MIN_CANDIDATES: int = 1
    """The smallest number of candidates a prompt with which the method makes sense."""
    EXAMPLES: str = "order"
    """What the method learns from: "order", or another kind of examples that hasse itself makes."""
    HEAD: Literal["reward"] | None = None
    """ "reward" for a model with a scalar head."""

    def needs_reference(self, settings: Any) -> bool:
        """Whether examples carry the summed log-probs of the frozen student, `batch.reference_N`."""
        return False

    def resolve(self, settings: Any, examples: Sequence[TrainingExample]) -> Any:
        """The settings with every value that depends on the examples replaced by a number."""
        return settings

    def step_sums(self, example: TrainingExample) -> Mapping[str, float]:
        """Give the divisors of the loss beside the number of prompts; `batch.step.sums` sums them over a whole step."""
        return {}


class MethodPlug(MethodTraits, Protocol):
    """A training method. `Settings` has the tag field `method`."""

    @abstractmethod
    def prepare(self, example: TrainingExample, settings: Any) -> TrainingExample | None:
        """The part of an example that the method needs; None leaves the example out, and the report counts it."""

    @abstractmethod
    def loss(self, policy: Any, batch: CandidateBatch, settings: Any) -> tuple[Tensor, Mapping[str, tuple]]:
        """The loss of a micro-batch and its metrics, without side effects. Losses add up to that of the step."""
