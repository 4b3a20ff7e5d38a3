import numpy as np
import pytest
from scipy.stats import binomtest

from hasse.stages.statistics.bootstrap import BALANCE, Bootstrap


def make(num_prompts=200, num_resamples=2000, clusters=None):
    return Bootstrap(clusters or [f"c{i}" for i in range(num_prompts)], num_resamples=num_resamples)


def test_mean_is_over_seeds_and_prompts():
    score = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert make(4).mean(score).mean == pytest.approx(5 / 8)


def test_a_constant_score_has_no_width():
    found = make().mean(np.full((3, 200), 0.7))
    assert (found.low, found.high, found.error) == pytest.approx((0.7, 0.7, 0.0))


def test_width_agrees_with_the_binomial_for_one_seed():
    rng = np.random.default_rng(100)
    score = (rng.random((1, 2000)) < 0.3).astype(float)
    assert make(2000).mean(score).error == pytest.approx(np.sqrt(0.3 * 0.7 / 2000), rel=0.1)


def test_prompts_of_a_cluster_do_not_count_as_independent():
    rng = np.random.default_rng(100)
    score = np.repeat((rng.random(100) < 0.5).astype(float), 10)[None]
    clustered = make(clusters=[f"c{i // 10}" for i in range(1000)]).mean(score)
    assert clustered.error == pytest.approx(np.sqrt(0.25 / 100), rel=0.15)
    assert clustered.error > 2.5 * make(1000).mean(score).error


def test_the_spread_between_seeds_widens_the_interval():
    rng = np.random.default_rng(100)
    same = np.repeat((rng.random((1, 400)) < 0.5).astype(float), 3, axis=0)
    apart = np.stack([np.full(400, 0.4), np.full(400, 0.5), np.full(400, 0.6)])
    assert make(400).mean(apart).error == pytest.approx(np.std([0.4, 0.5, 0.6]) / np.sqrt(3), rel=0.1)
    assert make(400).mean(same).error == pytest.approx(np.sqrt(0.25 / 400), rel=0.15)


def test_a_difference_is_paired_by_prompt():
    """Two arms that fail on the same hard prompts differ by far less than each varies."""
    rng = np.random.default_rng(100)
    base = (rng.random((1, 500)) < 0.5).astype(float)
    better = base.copy()
    better[0, np.flatnonzero(base[0] == 0)[:25]] = 1
    bootstrap = make(500)
    found = bootstrap.difference(better, base)
    assert found.mean == pytest.approx(0.05)
    assert found.excludes_zero
    assert found.error < bootstrap.mean(base).error / 2
    assert found.smallest_detectable == pytest.approx(2.8016 * found.error, rel=1e-3)
    reverse = bootstrap.difference(base, better)
    assert reverse.mean == pytest.approx(-0.05)
    assert reverse.high < 0


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        score = (rng.random((1, 150)) < 0.6).astype(float)
        found = make(150, num_resamples=300).mean(score)
        hits += found.low <= 0.6 <= found.high
    assert 0.9 <= hits / 200 <= 0.99


def test_the_same_answers_give_the_same_interval():
    score = (np.random.default_rng(2).random((3, 200)) < 0.5).astype(float)
    assert make().mean(score) == make().mean(score)


def test_an_interval_does_not_depend_on_what_was_asked_before():
    rng = np.random.default_rng(3)
    one, other = rng.random((3, 50)), rng.random((3, 50))
    used = make(50)
    used.mean(other)
    used.difference(other, one)
    assert used.mean(one) == make(50).mean(one)
    assert used.difference(one, other) == make(50).difference(one, other)


def test_the_seeds_of_two_arms_are_drawn_independently():
    """Arms whose prompts never vary differ by the spread of both, not by that of one shared draw."""
    apart = np.stack([np.full(50, 0.4), np.full(50, 0.5), np.full(50, 0.6)])
    assert make(50).difference(apart, apart).error == pytest.approx(np.sqrt(2 / 3) * np.std([0.4, 0.5, 0.6]), rel=0.1)


# Where every resample is the same


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("num_prompts", [2, 12, 40])
def test_a_share_of_none_or_all_has_the_exact_interval(right, num_prompts):
    exact = binomtest(right * num_prompts, num_prompts).proportion_ci(0.95, method="exact")
    found = make(num_prompts).mean(np.full((3, num_prompts), float(right)))
    assert (found.mean, found.low, found.high) == pytest.approx((right, exact.low, exact.high))
    assert found.error == pytest.approx((exact.high - exact.low) / (2 * 1.959964))


def test_what_counts_are_clusters_not_prompts():
    score = np.ones((1, 40))
    assert make(clusters=[f"c{i // 10}" for i in range(40)]).mean(score) == make(4).mean(np.ones((1, 4)))


def test_two_arms_that_answer_alike_may_still_differ():
    """0 of 12 prompts tell them apart; up to 1 - 0.025^(1/12) = 26.5 % of prompts might."""
    score = np.array([[1.0, 0.0] * 6])
    found = make(12).difference(score, score)
    assert (found.mean, found.low, found.high) == pytest.approx((0, -0.2646, 0.2646), abs=1e-4)
    assert not found.excludes_zero
    assert found.smallest_detectable > 0.2646


def test_all_right_against_all_wrong_is_a_difference():
    found = make(12).difference(np.ones((2, 12)), np.zeros((1, 12)))
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - 2 * 0.2646, abs=1e-4)
    assert found.excludes_zero


def test_one_cluster_says_nothing_about_the_spread():
    bootstrap = make(clusters=["c"] * 10)
    score = np.array([[1.0] * 6 + [0.0] * 4])
    assert (bootstrap.mean(score).low, bootstrap.mean(score).high) == (0.0, 1.0)
    assert not bootstrap.difference(np.ones((1, 10)), score).excludes_zero


def test_a_balance_goes_from_minus_one_to_one():
    found = make(12).mean(-np.ones((1, 12)), scale=BALANCE)
    assert (found.low, found.high) == pytest.approx((-1, -1 + 2 * 0.2646), abs=1e-4)
    level = make(12).mean(np.zeros((1, 12)), scale=BALANCE)
    assert (level.low, level.high) == pytest.approx((-0.2646, 0.2646), abs=1e-4)


def test_a_score_without_bounds_keeps_the_bootstrap():
    found = make(12).mean(np.ones((1, 12)), scale=None)
    assert (found.low, found.high) == (1.0, 1.0)
