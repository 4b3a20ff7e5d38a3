"""Elo ratings of arms from the outcomes of their duels."""

import math
import random

import pytest

from hasse.stages.evaluate.elo import DuelOutcome, elo


def outcomes(arm, other, win, lose, tie=0):
    verdicts = ["win"] * win + ["lose"] * lose + ["tie"] * tie
    return [DuelOutcome(arm=arm, other=other, verdict=v, cluster=f"c{i}") for i, v in enumerate(verdicts)]


def test_three_wins_in_four_are_190_points():
    """400 log10(3) = 190.8, which the imagined ties of a few duels draw together by less than 1 %."""
    found = elo(outcomes("a", "b", win=3000, lose=1000), num_resamples=50)
    assert found["a"].mean - found["b"].mean == pytest.approx(400 * math.log10(3), abs=1)
    assert found["a"].mean + found["b"].mean == pytest.approx(2000)


def test_ties_are_half_a_win_and_the_order_of_duels_does_not_matter():
    played = outcomes("a", "b", win=10, lose=4) + outcomes("c", "b", win=2, lose=2, tie=6)
    found = elo(played, num_resamples=50)
    assert found["b"].mean == pytest.approx(found["c"].mean, abs=15)
    shuffled = random.Random(0).sample(played, len(played))
    turned = [DuelOutcome(arm="b", other="a", verdict={"win": "lose", "lose": "win"}[o.verdict], cluster=o.cluster)
              for o in outcomes("a", "b", win=10, lose=4)]  # fmt: skip
    for other in (shuffled, turned + outcomes("c", "b", win=2, lose=2, tie=6)):
        again = elo(other, num_resamples=50)
        assert {arm: rating.mean for arm, rating in again.items()} == pytest.approx(
            {arm: rating.mean for arm, rating in found.items()}
        )


def test_an_arm_that_never_loses_has_a_finite_rating_and_more_duels_a_narrower_interval():
    found = elo(outcomes("a", "b", win=40, lose=0), num_resamples=50)
    assert 1100 < found["a"].mean < 2500
    few, many = (elo(outcomes("a", "b", win=6 * n, lose=4 * n), num_resamples=200)["a"] for n in (3, 30))
    assert few.low < many.low < many.mean < many.high < few.high
