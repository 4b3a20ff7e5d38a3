import random

import pytest

from hasse.data.text import normalise
from hasse.stages.evaluate.contamination import Overlap, contaminated


def test_the_share_counts_the_grams_found_in_any_training_text():
    """a b c, b c d, c d e, d e f: the first in t2, the last in t3."""
    training = [("t1", "nothing here at all"), ("t2", "x A  b C y"), ("t3", "d e f")]
    assert contaminated(training, [("e1", "a b c d e f")], n=3) == [
        Overlap(evaluation_id="e1", training_id="t2", gram="a b c", share=0.5)
    ]


def test_the_first_hit_is_the_first_in_training_order():
    training = [("t1", "z d e f"), ("t2", "a b c"), ("t3", "d e f")]
    (found,) = contaminated(training, [("e1", "a b c d e f")], n=3)
    assert (found.training_id, found.gram, found.share) == ("t1", "d e f", 0.5)


def test_items_that_share_a_gram_are_each_reported_in_their_order():
    evaluation = [("e2", "b c d"), ("clean", "c b a"), ("e1", "b c d e")]
    found = contaminated([("t", "a b c d")], evaluation, n=3)
    assert [(o.evaluation_id, o.share) for o in found] == [("e2", 1.0), ("e1", 0.5)]


def test_thirteen_words_by_default():
    words = [f"w{i}" for i in range(20)]
    evaluation = [("e", " ".join(words))]
    assert contaminated([("t", " ".join(words[4:16]))], evaluation) == []
    (found,) = contaminated([("t", " ".join(words[4:17]))], evaluation)
    assert (found.gram, found.share) == (" ".join(words[4:17]), 1 / 8)


@pytest.mark.parametrize(
    ("training", "hit"),
    [("Say: b c now", True), ("b c", True), ("b x c", False), ("bb c", False), ("c b", False), ("b", False)],
)
def test_a_short_item_is_looked_for_as_a_whole_and_in_a_row(training, hit):
    found = contaminated([("t", training)], [("e", "B c"), ("empty", "  ")], n=5)
    assert found == ([Overlap(evaluation_id="e", training_id="t", gram="b c", share=1.0)] if hit else [])


def test_training_is_streamed_once_after_the_evaluation_items():
    seen = []

    def stream(name, rows):
        for row in rows:
            seen.append(name)
            yield row

    found = contaminated(stream("t", [("t1", "a b"), ("t2", "a b")]), stream("e", [("e1", "a b"), ("e2", "b a")]), n=2)
    assert seen == ["e", "e", "t", "t"]
    assert [(o.evaluation_id, o.training_id) for o in found] == [("e1", "t1")]


def test_nothing_on_either_side_is_no_overlap():
    assert contaminated([], [("e", "a b")]) == []
    assert contaminated([("t", "a b")], []) == []


@pytest.mark.parametrize("n", [0, -1])
def test_an_n_below_one_is_refused(n):
    with pytest.raises(ValueError, match="at least one word"):
        contaminated([], [], n=n)


def plain(training, evaluation, n):
    """The same by comparing every window with every window."""
    found = []
    for evaluation_id, text in evaluation:
        words = normalise(text).split()
        size = min(n, len(words))
        grams = [words[i : i + size] for i in range(len(words) - size + 1)] if size else []
        windows = [
            (training_id, t[i : i + size])
            for training_id, other in training
            for t in [normalise(other).split()]
            for i in range(len(t) - size + 1)
        ]
        shared = [(training_id, window) for training_id, window in windows if window in grams]
        if grams and shared:
            share = sum(any(gram == window for _, window in shared) for gram in grams) / len(grams)
            found.append((evaluation_id, shared[0][0], " ".join(shared[0][1]), share))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_it_agrees_with_the_plain_comparison(seed):
    rng = random.Random(seed)
    training, evaluation = (
        [(f"{name}{i}", " ".join(rng.choices("abcD", k=rng.randrange(9)))) for i in range(6)] for name in "te"
    )
    n = rng.randint(1, 5)
    found = contaminated(training, evaluation, n=n)
    assert [(o.evaluation_id, o.training_id, o.gram, o.share) for o in found] == plain(training, evaluation, n)
