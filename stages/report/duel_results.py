"""The duels of arms and their Elo ratings, as tables and as sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hasse.pipeline.store import Artifact
from hasse.stages.statistics.bootstrap import Interval


@dataclass(frozen=True, kw_only=True)
class DuelResult:
    """The duels of one arm with another, over all seeds and prompts.

    rate: wins minus losses as a share of all duels with a verdict. position_bias: as in `WinRate`.
    """

    arm: str
    other: str
    win: int
    lose: int
    tie: int
    excluded: int
    rate: Interval
    position_bias: float | None


def duel_results(artifacts: Sequence[Artifact]) -> list[DuelResult]:
    """One result for each pair of arms."""
    rows = (row for artifact in artifacts for row in artifact.manifest.metrics["duels"])
    return [DuelResult(**{**row, "rate": Interval(**row["rate"])}) for row in rows]


def elo_ratings(artifacts: Sequence[Artifact]) -> dict[str, Interval]:
    """Arm -> rating, the highest first."""
    found: dict[str, Mapping[str, Any]] = {}
    for artifact in artifacts:
        found |= artifact.manifest.metrics["elo"]
    return {arm: Interval(**found[arm]) for arm in sorted(found, key=lambda arm: -found[arm]["mean"])}


def duel_sentences(results: Sequence[DuelResult]) -> list[str]:
    """One sentence for each pair of arms."""
    return [
        f"The judge {_verb(result.rate)} {result.arm} {_preposition(result.rate)} {result.other}: {result.win} wins, "
        f"{result.lose} losses, {result.tie} ties; {100 * result.rate.mean:+.1f} points, 95 % interval "
        f"{100 * result.rate.low:.1f} to {100 * result.rate.high:.1f}."
        for result in results
    ]


def _verb(rate: Interval) -> str:
    return "prefers" if rate.low > 0 else "likes" if rate.high < 0 else "has no clear preference between"


def _preposition(rate: Interval) -> str:
    return "to" if rate.low > 0 else "less than" if rate.high < 0 else "and"
