"""The win rate of model A over model B by a judge that saw every pair in both orders."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasse.stages.statistics.bootstrap import BALANCE, Bootstrap, Interval
from hasse.stages.statistics.comparison import PairComparison

VALUE: dict[str, float] = {"win": 1.0, "lose": -1.0, "tie": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """win, lose, tie: numbers of comparisons, for A; excluded: comparisons without a usable reply in either order."""

    win: int
    lose: int
    tie: int
    excluded: int
    rate: Interval
    """Share of wins minus share of losses, -1 to 1. Ties count in the denominator; excluded comparisons do not."""
    position_bias: float | None
    """Among comparisons with two usable replies: the share where both orders favour the answer shown first, minus the
    share where both favour the answer shown second, -1 to 1; None when there are no such comparisons."""


def win_rate(
    comparisons: Sequence[PairComparison], *, clusters: Sequence[str] | None = None, num_resamples: int = 2000
) -> WinRate:
    """The counts, the win rate with its interval, and the judge's position bias.

    clusters: one per comparison; None makes every prompt a cluster. Raises ValueError when the numbers of clusters and
    comparisons differ, or when no comparison has a usable reply.
    """
    clusters = [c.prompt_id for c in comparisons] if clusters is None else clusters
    used = [
        (cluster, verdict)
        for comparison, cluster in zip(comparisons, clusters, strict=True)
        if (verdict := comparison.verdict) is not None
    ]
    if not used:
        raise ValueError(f"none of {len(comparisons)} comparisons has a usable reply")
    count = Counter(verdict for _, verdict in used)
    bootstrap = Bootstrap([cluster for cluster, _ in used], num_resamples=num_resamples)
    return WinRate(
        win=count["win"],
        lose=count["lose"],
        tie=count["tie"],
        excluded=len(comparisons) - len(used),
        rate=bootstrap.mean(np.array([[VALUE[verdict] for _, verdict in used]]), scale=BALANCE),
        position_bias=_position_bias(comparisons),
    )


def _position_bias(comparisons: Sequence[PairComparison]) -> float | None:
    pairs = [(c.first, c.second) for c in comparisons if c.first is not None and c.second is not None]
    if not pairs:
        return None
    return (pairs.count(("win", "lose")) - pairs.count(("lose", "win"))) / len(pairs)
