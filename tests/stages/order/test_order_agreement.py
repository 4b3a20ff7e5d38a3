"""The order room as a library: orders made, drawn and compared without a run."""

import pytest

from hasse.stages.order import PartialOrder, from_levels, from_pairs, hasse_edges, order_agreement

BY_ANN = from_levels("p1", {"x": 3, "y": 2, "z": 2})
BY_BOB = from_pairs("p1", ["x", "y", "z"], [("x", "y"), ("y", "z")])


def counts(first, second):
    found = order_agreement(first, second)
    return (found.num_same, found.num_reversed, found.num_only_first, found.num_only_second, found.num_incomparable)


def test_the_example_of_the_room():
    assert isinstance(BY_ANN, PartialOrder)
    assert hasse_edges(BY_ANN) == [("x", "y"), ("x", "z")]
    assert hasse_edges(BY_BOB) == [("x", "y"), ("y", "z")]
    assert counts(BY_ANN, BY_BOB) == (2, 0, 0, 1, 0)


def test_a_candidate_without_a_level_joins_no_pair():
    order = from_levels("p1", {"ann": 3, "bob": 2, "cid": 2, "dan": None})
    assert hasse_edges(order) == [("ann", "bob"), ("ann", "cid")]


def test_agreement_with_itself_and_with_its_reverse():
    reverse = from_pairs("p1", ["x", "y", "z"], [("z", "y"), ("y", "x")])
    assert order_agreement(BY_BOB, BY_BOB).tau == 1
    assert order_agreement(BY_BOB, reverse).tau == -1
    assert counts(BY_BOB, reverse) == (0, 3, 0, 0, 0)


def test_tau_counts_incomparable_pairs_as_ties():
    """2 pairs alike of 2 and 3 ordered ones: 2 / sqrt(2 * 3)."""
    assert order_agreement(BY_ANN, BY_BOB).tau == pytest.approx(2 / 6**0.5)
    assert order_agreement(BY_ANN, from_levels("p1", {"x": 1, "y": 1, "z": 1})).tau is None


def test_candidates_that_one_order_lacks_are_left_out():
    assert counts(BY_BOB, from_levels("p1", {"z": 1, "new": 5, "y": 1})) == (0, 0, 1, 0, 0)
    assert counts(BY_BOB, from_levels("p1", {"new": 5})) == (0, 0, 0, 0, 0)
