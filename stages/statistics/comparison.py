"""A judge's verdict on two answers that it has seen in both orders."""

from dataclasses import dataclass
from typing import Literal, get_args

Verdict = Literal["win", "lose", "tie"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairComparison:
    """The verdicts for model A on one prompt, None where the judge's reply was unusable.

    Raises ValueError for an unknown verdict.
    """

    prompt_id: str
    first: Verdict | None
    """When A was shown first."""
    second: Verdict | None
    """When A was shown second."""

    def __post_init__(self) -> None:
        for verdict in (self.first, self.second):
            if verdict is not None and verdict not in VERDICTS:
                raise ValueError(f"prompt {self.prompt_id}: verdict {verdict!r}; known are {', '.join(VERDICTS)}")

    @property
    def verdict(self) -> Verdict | None:
        """A win or a loss when both orders agree on it, a tie otherwise; None without a usable reply."""
        if self.first is None and self.second is None:
            return None
        return self.first if self.first is not None and self.first == self.second else "tie"
