"""Elo ratings of arms from their duels: Bradley-Terry strengths on Elo's scale, which no order of the duels changes.

Legend: C clusters of prompts, P pairs of arms, R resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasse.stages.order.majority import Tally, bradley_terry
from hasse.stages.order.partial_order import Edge
from hasse.stages.statistics.bootstrap import LEVEL, Interval
from hasse.stages.statistics.comparison import Verdict
from hasse.stages.statistics.win_rate import VALUE

START = 1000.0
"""The mean rating of all arms."""
SCALE = 400.0
"""An arm that is rated higher by this many points is expected to win 10 of 11 duels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuelOutcome:
    """The outcome of one duel, for `arm`. cluster: the cluster of its prompt."""

    arm: str
    other: str
    verdict: Verdict
    cluster: str


def elo(outcomes: Sequence[DuelOutcome], *, num_resamples: int = 500, seed: int = 0) -> dict[str, Interval]:
    """Arm -> its rating with a 95 % interval from a bootstrap over clusters of prompts.

    A tie counts as half a win for each arm. A single cluster tells nothing about the spread.
    """
    clusters = {name: i for i, name in enumerate(dict.fromkeys(o.cluster for o in outcomes))}
    pairs = {pair: i for i, pair in enumerate(dict.fromkeys((o.arm, o.other) for o in outcomes))}
    balance_CP, number_CP = np.zeros((2, len(clusters), len(pairs)))
    for o in outcomes:
        place = clusters[o.cluster], pairs[o.arm, o.other]
        balance_CP[place] += VALUE[o.verdict]
        number_CP[place] += 1
    drawn_RC = np.random.default_rng(seed).multinomial(
        len(clusters), np.full(len(clusters), 1 / len(clusters)), size=num_resamples
    )
    rated = _ratings(pairs, balance_CP.sum(0), number_CP.sum(0))
    again = [
        _ratings(pairs, balance_P, number_P)
        for balance_P, number_P in zip(drawn_RC @ balance_CP, drawn_RC @ number_CP, strict=True)
    ]
    return {arm: _interval(mean, np.array([other.get(arm, START) for other in again])) for arm, mean in rated.items()}


def _ratings(pairs: Sequence[Edge] | dict[Edge, int], balance_P: np.ndarray, number_P: np.ndarray) -> dict[str, float]:
    tallies = {
        pair: Tally(balance=float(balance / number), weight=float(number))
        for pair, balance, number in zip(pairs, balance_P, number_P, strict=True)
        if number
    }
    return {arm: START + SCALE / math.log(10) * strength for arm, strength in bradley_terry(tallies).items()}


def _interval(mean: float, rating_R: np.ndarray) -> Interval:
    low, high = np.quantile(rating_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean=mean, low=float(low), high=float(high), error=float(rating_R.std()))
