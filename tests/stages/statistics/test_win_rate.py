import itertools
import math

import pytest

from hasse.stages.statistics.comparison import PairComparison
from hasse.stages.statistics.win_rate import win_rate


def compared(*verdicts):
    return [PairComparison(prompt_id=f"p{i}", first=a, second=b) for i, (a, b) in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ("win", "win", "win"),
        ("lose", "lose", "lose"),
        ("tie", "tie", "tie"),
        ("win", "tie", "tie"),
        ("lose", "tie", "tie"),
        ("win", "lose", "tie"),
        ("win", None, "tie"),
        ("lose", None, "tie"),
        ("tie", None, "tie"),
        (None, None, None),
    ],
)
def test_only_agreeing_verdicts_stand(first, second, verdict):
    for a, b in ((first, second), (second, first)):
        assert PairComparison(prompt_id="p", first=a, second=b).verdict == verdict


def test_an_unknown_verdict_is_refused_by_its_prompt():
    with pytest.raises(ValueError, match="prompt p7: verdict 'won'; known are win, lose, tie"):
        PairComparison(prompt_id="p7", first="won", second=None)


def test_the_rate_has_the_ties_in_the_denominator_and_not_the_excluded():
    verdicts = [("win", "win")] * 60 + [("lose", "lose")] * 31 + [("tie", "win")] * 37 + [(None, None)] * 5
    found = win_rate(compared(*verdicts))
    assert (found.win, found.lose, found.tie, found.excluded) == (60, 31, 37, 5)
    assert found.rate.mean == 0.2265625


def test_the_interval_is_that_of_the_mean_of_wins_less_losses():
    """(91 - 29 ** 2 / 128) / 128 is the variance of one comparison; 128 of them are averaged."""
    found = win_rate(compared(*[("win", "win")] * 60 + [("lose", "lose")] * 31 + [("tie", "tie")] * 37))
    error = math.sqrt((91 - 29**2 / 128) / 128 / 128)
    assert found.rate.error == pytest.approx(error, rel=0.06)
    assert found.rate.low == pytest.approx(29 / 128 - 1.96 * error, abs=0.02)
    assert found.rate.high == pytest.approx(29 / 128 + 1.96 * error, abs=0.02)


def test_swapping_the_models_turns_the_sign_of_the_rate_and_keeps_the_bias():
    turn = {"win": "lose", "lose": "win", "tie": "tie", None: None}
    verdicts = list(itertools.product(turn, repeat=2)) + [("win", "win")] * 3 + [("win", "lose")] * 2
    a = win_rate(compared(*verdicts))
    b = win_rate(compared(*[(turn[second], turn[first]) for first, second in verdicts]))
    assert a.rate.mean == pytest.approx(3 / 20)
    assert (b.win, b.lose, b.tie, b.excluded) == (a.lose, a.win, a.tie, a.excluded)
    assert (b.rate.mean, b.rate.low) == pytest.approx((-a.rate.mean, -a.rate.high))
    assert a.position_bias == b.position_bias == pytest.approx(2 / 14)


def test_prompts_of_a_cluster_do_not_count_as_independent():
    verdicts = [("win", "win")] * 10 + [("lose", "lose")] * 10
    apart = win_rate(compared(*verdicts * 10))
    together = win_rate(compared(*verdicts * 10), clusters=[f"c{i // 10}" for i in range(200)])
    assert apart.rate.mean == together.rate.mean == 0
    assert together.rate.error > 2.5 * apart.rate.error


def test_comparisons_of_one_prompt_are_one_cluster():
    same = [PairComparison(prompt_id="p", first=v, second=v) for v in ("win", "win", "lose")]
    found = win_rate(same).rate
    assert (found.mean, found.low, found.high) == (pytest.approx(1 / 3), -1, 1), "one cluster tells of no spread"
    assert win_rate(same, clusters=["a", "b", "c"]).rate.error > 0.1


def test_the_clusters_stay_with_their_comparisons_when_some_are_excluded():
    found = win_rate(
        compared(("win", "win"), (None, None), ("lose", "lose"), ("win", "win"), ("lose", "lose")),
        clusters=["a", "x", "a", "b", "b"],
    )
    # Each of the two clusters is balanced, so every resample is 0: the exact bound of 0 in 2 holds.
    assert (found.rate.mean, found.rate.high) == (0, pytest.approx(1 - 0.025**0.5))


@pytest.mark.parametrize(
    ("verdicts", "bias"),
    [
        ([("win", "lose")] * 3 + [("lose", "win")] + [("win", "win")] * 4, 0.25),
        ([("lose", "win"), ("tie", "win")], -0.5),
        ([("win", "tie"), ("win", "win")], 0.0),
        ([("win", "lose"), ("win", None), (None, None)], 1.0),
        ([("win", None), (None, "lose")], None),
    ],
)
def test_position_bias_is_of_those_with_two_replies(verdicts, bias):
    assert win_rate(compared(*verdicts)).position_bias == bias


@pytest.mark.parametrize("verdicts", [[], [(None, None)]])
def test_without_a_usable_reply_there_is_no_rate(verdicts):
    with pytest.raises(ValueError, match="usable reply"):
        win_rate(compared(*verdicts))


def test_clusters_must_be_as_many_as_the_comparisons():
    with pytest.raises(ValueError, match="zip"):
        win_rate(compared(("win", "win"), ("win", "win")), clusters=["a"])
