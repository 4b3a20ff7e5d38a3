"""The win rate of model A over model B by a judge that saw every pair in both orders, and Elo ratings of models."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasse.stages.statistics.bootstrap import BALANCE, Bootstrap, Interval
from hasse.stages.statistics.comparison import PairComparison

VALUE: dict[str, float] = {"win": 1.0, "lose": -1.0, "tie": 0.0}

START = 1000.0
SCALE = 400.0
"""A model that is rated higher by this many points is expected to win 10 of 11 comparisons."""


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


def elo(
    results: Sequence[tuple[str, str, float]], *, shuffles: int = 100, k: float = 16, seed: int = 0
) -> dict[str, float]:
    """Model -> Elo rating, averaged over shuffled orders of the results; the mean over all models is 1000.

    results: (a, b, score of a) with a score of 0, 0.5 or 1; their order does not matter. k: the most points by which
    one result changes a rating. Raises ValueError for another score, a model against itself, or fewer than 1 shuffle.
    """
    if shuffles < 1:
        raise ValueError(f"shuffles is {shuffles}; at least 1 is needed")
    for a, b, score in results:
        if score not in (0, 0.5, 1) or a == b:
            raise ValueError(f"{a} against {b} with score {score}: two models and 0, 0.5 or 1 are needed")
    results = sorted(results)
    total = dict.fromkeys(sorted({name for a, b, _ in results for name in (a, b)}), 0.0)
    rng = np.random.default_rng(seed)
    for _ in range(shuffles):
        for name, rating in _ratings([results[i] for i in rng.permutation(len(results))], total, k).items():
            total[name] += rating
    return {name: rating / shuffles for name, rating in total.items()}


def _position_bias(comparisons: Sequence[PairComparison]) -> float | None:
    pairs = [(c.first, c.second) for c in comparisons if c.first is not None and c.second is not None]
    if not pairs:
        return None
    return (pairs.count(("win", "lose")) - pairs.count(("lose", "win"))) / len(pairs)


def _ratings(results: Sequence[tuple[str, str, float]], names: dict[str, float], k: float) -> dict[str, float]:
    rating = dict.fromkeys(names, START)
    for a, b, score in results:
        expected = 1 / (1 + 10 ** ((rating[b] - rating[a]) / SCALE))
        rating[a] += k * (score - expected)
        rating[b] -= k * (score - expected)
    return rating
