"""How often model A beats model B by a judge that saw every pair in both orders, and Elo ratings from such results."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasse.stages.statistics.bootstrap import BALANCE, Bootstrap, Interval
from hasse.stages.statistics.comparison import PairComparison

VALUE: dict[str, float] = {"win": 1.0, "lose": -1.0, "tie": 0.0}

START = 1000.0
SCALE = 400.0
"""A model rated so much higher is expected to win 10 of 11."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """win, lose, tie: how many comparisons, for A; excluded: how many had no usable reply in either order."""

    win: int
    lose: int
    tie: int
    excluded: int
    rate: Interval
    """Share of wins minus share of losses, -1 to 1; ties are in the denominator, the excluded are not."""
    position_bias: float | None
    """Share of comparisons where both orders favour the answer shown first minus share where both favour the second,
    -1 to 1, of those with two usable replies; None when there are none."""


def win_rate(
    comparisons: Sequence[PairComparison], *, clusters: Sequence[str] | None = None, num_resamples: int = 2000
) -> WinRate:
    """Counts, the rate with its interval, and the judge's position bias.

    clusters: one for each comparison; its prompt when None. Raises ValueError when these are not as many as the
    comparisons, or when no comparison has a usable reply.
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
    """Model -> Elo rating, the mean over shuffled orders of the results; 1000 is the mean of all models.

    results: (a, b, score of a), the score 0, 0.5 or 1; their order does not count. k: the most points that one result
    moves. Raises ValueError for another score, a model against itself, or shuffles below 1.
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
