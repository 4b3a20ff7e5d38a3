"""Totals that respect verdicts, worked on paper."""

import json

import pytest

from hasse.stages.judge.pair_questions import GAP, contradicted, decide, read_verdict, reversed_pairs, settle


def test_only_contradictions_are_disagreements():
    first, second = {"a": 5, "b": 4, "c": 4, "d": 1}, {"a": 3, "b": 6, "c": 6, "d": 0}
    assert reversed_pairs(first, second) == [("a", "b"), ("a", "c")]
    assert reversed_pairs({"a": 5, "b": 4}, {"a": 5, "b": 5}) == []


@pytest.mark.parametrize(
    ("said", "turned", "decided"),
    [
        ("win", "lose", "win"),
        ("lose", "win", "lose"),
        ("win", "win", "tie"),  # whichever was shown first
        ("tie", "lose", "tie"),
        ("win", "abstain", "tie"),
        ("abstain", "abstain", None),
        ("refused", "unparsable", None),
    ],
)
def test_a_pair_is_decided_only_where_both_orders_say_so(said, turned, decided):
    assert decide(("a", "b"), said, turned) == decided


@pytest.mark.parametrize(("stated", "word"), [("A", "win"), ("b", "lose"), ("Tie", "tie"), (" abstain", "abstain")])
def test_verdicts_are_read_from_the_reply(stated, word):
    assert read_verdict(f"So: ```json\n{json.dumps({'rationale': '{A}', 'verdict': stated})}\n```") == word


@pytest.mark.parametrize("reply", ["A", '{"verdict": "C"}', '{"verdict": null}', "{}"])
def test_other_replies_are_no_verdicts(reply):
    with pytest.raises(ValueError, match="verdict"):
        read_verdict(reply)


def test_totals_move_no_farther_than_the_verdicts_ask():
    first, second = {"a": 8, "b": 5, "c": 1}, {"a": 4, "b": 6, "c": 2}
    assert settle(first, second, {}) == {"a": 6, "b": 5.5, "c": 1.5}
    assert settle(first, second, {("a", "b"): "win"}) == {"a": 6, "b": 5.5, "c": 1.5}
    assert settle(first, second, {("a", "b"): "tie"}) == {"a": 5.75, "b": 5.75, "c": 1.5}
    assert settle(first, second, {("a", "b"): "lose"}) == {"a": 5.745, "b": 5.755, "c": 1.5}
    assert settle(first, second, {("a", "b"): None}) == {"a": 6, "b": 5.5, "c": 1.5}


def test_pairs_that_nobody_asked_about_are_not_turned_over():
    first, second = {"a": 9, "b": 3, "c": 8.9}, {"a": 5, "b": 6, "c": 4.9}
    total = settle(first, second, {("a", "b"): "tie", ("b", "c"): None})
    assert total["a"] == total["b"]  # means 7 and 4.5; c, at 6.9, is below a in both orders
    assert total["a"] - total["c"] == pytest.approx(GAP)


def test_a_chain_of_verdicts_is_respected_to_the_last_digit():
    first, second = dict(zip("abcde", (9, 7, 5, 3, 1), strict=True)), dict(zip("abcde", (1, 2, 3, 4, 5), strict=True))
    verdicts = dict.fromkeys(reversed_pairs(first, second), "lose")
    assert len(verdicts) == 10
    verdicts[("a", "b")] = "tie"
    total = settle(first, second, verdicts)
    assert contradicted(total, verdicts) == 0
    assert total["a"] == total["b"] < total["c"] < total["d"] < total["e"]
    assert sum(total.values()) == pytest.approx(20)


def test_verdicts_in_a_circle_are_counted():
    first, second = {"a": 3, "b": 2, "c": 1}, {"a": 1, "b": 2, "c": 3}
    circle = {("a", "b"): "win", ("b", "c"): "win", ("a", "c"): "lose"}
    assert contradicted(settle(first, second, circle), circle) >= 1
