import numpy as np
import pytest

from stages.statistics import Bootstrap


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
