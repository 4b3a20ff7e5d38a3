import itertools

import pytest

from hasse.data.errors import InputError
from hasse.data.records import Candidate, Judgement, OrderedPair, Prompt
from hasse.stages.order.judged import shuffled
from hasse.stages.order.partial_order import from_levels, from_pairs, transitive_closure, transitive_reduction
from hasse.stages.order.strategies import fo_similarity, hp, lp, lp_hp, qa_lp, scores

PROMPT = Prompt(prompt_id="p1", text="?", source="s", cluster_id="p1", split="train")

STRATEGIES = {"hp": hp, "lp": lp, "lp_hp": lp_hp}


def candidate(candidate_id, source="student", text=""):
    return Candidate(prompt_id="p1", candidate_id=candidate_id, text=text, source=source)


def judged(verdicts, human=True):
    """(candidate, judgement) of a human answer h and one candidate a letter: c right, w wrong, ? without a verdict."""
    items = [(candidate("h", "human"), verdict("h", True))] if human else []
    return items + [
        (candidate(f"{letter}{i}"), verdict(f"{letter}{i}", {"c": True, "w": False, "?": None}[letter]))
        for i, letter in enumerate(verdicts)
    ]


def verdict(candidate_id, correct):
    return Judgement(prompt_id="p1", candidate_id=candidate_id, teacher="rule", correct=correct)


def order(module, items, **settings):
    (found,) = module.orders([(PROMPT, items)], module.Settings(**settings))
    return found


def edges(found):
    return {(pair.above, pair.below) for pair in found.pairs}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("hp", {"h>c0", "h>c1", "h>w2", "h>w3"}),
        ("lp", {"h>w2", "h>w3", "c0>w2", "c0>w3", "c1>w2", "c1>w3"}),
        ("lp_hp", {"h>c0", "h>c1", "h>w2", "h>w3", "c0>w2", "c0>w3", "c1>w2", "c1>w3"}),
    ],
)
def test_pairs_of_each_strategy(strategy, expected):
    found = order(STRATEGIES[strategy], judged("ccww"))
    assert {f"{a}>{b}" for a, b in edges(found)} == expected
    assert found.target == "h"


@pytest.mark.parametrize("verdicts", ["".join(v) for k in range(5) for v in itertools.product("cw", repeat=k)])
def test_the_hybrid_is_the_union_of_both_and_the_counts_follow_the_formula(verdicts):
    p, q = verdicts.count("c"), verdicts.count("w")
    found = {name: edges(order(module, judged(verdicts))) for name, module in STRATEGIES.items()}
    assert found["lp_hp"] == found["hp"] | found["lp"]
    assert {name: len(e) for name, e in found.items()} == {"hp": p + q, "lp": (p + 1) * q, "lp_hp": p + q + p * q}


def test_without_a_human_a_right_answer_is_the_target_and_a_wrong_one_never():
    assert order(lp, judged("wc", human=False)).target == "c1"
    assert order(lp, judged("ww", human=False)).target is None
    assert order(hp, judged("cw", human=False)).target is None
    assert order(hp, judged("cw", human=False)).pairs == ()


def test_a_candidate_without_a_verdict_is_incomparable():
    found = order(lp, judged("c?w"))
    assert found.levels == (2.0, 2.0, None, 1.0)
    assert edges(found) == {("h", "w2"), ("c0", "w2")}


def test_shuffled_labels_change_places_within_a_prompt_and_the_experts_keeps_its_own():
    item = (PROMPT, judged("ccwww"))
    found = [shuffled(item, seed) for seed in range(20)]
    verdicts = {"".join("c" if j.correct else "w" for _, j in judged_of) for _, judged_of in found}
    assert len(verdicts) > 5
    assert all(v[0] == "c" and sorted(v) == sorted("cccwww") for v in verdicts)
    assert all(c.candidate_id == j.candidate_id for _, judged_of in found for c, j in judged_of)
    assert shuffled(item, 3) == shuffled(item, 3)


def test_qa_lp_needs_no_human():
    found = order(qa_lp, judged("cwcw", human=False))
    assert edges(found) == {(a, b) for a in ("c0", "c2") for b in ("w1", "w3")}
    assert found.target == "c0"


def test_similarity_orders_by_closeness_to_the_human_answer():
    texts = {"h": "ann is taller than bob", "a": "bob is old", "b": "ann is taller than bob today", "c": "zebra"}
    items = [(candidate(i, "human" if i == "h" else "student", t), verdict(i, True)) for i, t in texts.items()]
    found = order(fo_similarity, items)
    assert edges(found) == {("h", "b"), ("h", "a"), ("h", "c"), ("b", "a"), ("b", "c"), ("a", "c")}
    assert found.target == "h"


def test_similarity_without_a_human_is_a_row_with_a_status():
    found = order(fo_similarity, judged("cw", human=False))
    assert (found.status, found.error) == ("filtered", "no human answer to be similar to")


def test_similarity_to_an_answer_without_words():
    items = [(candidate("h", "human", "!"), verdict("h", True)), (candidate("a", text="?"), verdict("a", True))]
    assert edges(order(fo_similarity, items)) == {("h", "a")}


def test_an_embedder_that_is_not_installed_says_what_to_install():
    with pytest.raises(InputError, match="sentence-transformers"):
        order(fo_similarity, judged("c"), embedder="all-minilm")


def test_equal_levels_give_no_pairs_and_the_human_is_the_target_among_ties():
    found = from_levels("p1", {"a": 2.0, "h": 2.0, "b": 2.0}, humans={"h"}, good=2.0)
    assert (found.pairs, found.target) == ((), "h")


def pairs(*names):
    return [OrderedPair(above=n[0], below=n[1], margin=0.5 if i == 0 else 0.0) for i, n in enumerate(names)]


def test_explicit_pairs_are_closed_under_transitivity_and_keep_their_margins():
    found = from_pairs("p1", list("abcde"), pairs("ab", "bc", "de"))
    assert edges(found) == {("a", "b"), ("a", "c"), ("b", "c"), ("d", "e")}
    assert {(p.above, p.below): p.margin for p in found.pairs}["a", "b"] == 0.5
    assert found.target == "a"
    assert found.levels == (None,) * 5


@pytest.mark.parametrize(
    ("names", "cycle"), [(("ab", "ba"), "a > b > a"), (("ab", "bc", "ca"), "a > b > c > a"), (("aa",), "a > a")]
)
def test_a_cycle_is_an_error_that_names_the_prompt_and_the_cycle(names, cycle):
    with pytest.raises(InputError, match=f"prompt p1: the pairs contain the cycle {cycle}"):
        from_pairs("p1", list("abc"), pairs(*names))


def test_a_pair_of_an_unknown_candidate_is_an_error_that_names_it():
    with pytest.raises(InputError, match="prompt p1: a pair names 'z'; the candidates are a, b"):
        from_pairs("p1", ["a", "b"], [("a", "z")])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({("a", "b"), ("b", "c"), ("a", "c")}, {("a", "b"), ("b", "c")}),
        ({("a", "b"), ("a", "c")}, {("a", "b"), ("a", "c")}),
        (set(), set()),
        ({("a", "b"), ("c", "d")}, {("a", "b"), ("c", "d")}),
        (
            {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d")},
            {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")},
        ),
        ({("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")}, {("a", "b"), ("b", "c"), ("c", "d")}),
    ],
)
def test_reduction_keeps_what_does_not_follow(given, expected):
    assert transitive_reduction(given) == expected
    assert transitive_closure(expected, where="x") == transitive_closure(given, where="x")


def test_closure_of_random_orders_is_transitive_and_has_no_more_than_it_must():
    import numpy as np

    rng = np.random.default_rng(0)
    for _ in range(50):
        given = {(int(a), int(b)) for a, b in rng.integers(0, 8, (9, 2)) if a < b}
        closed = transitive_closure([(str(a), str(b)) for a, b in given], where="x")
        reach = np.zeros((8, 8), dtype=bool)
        for a, b in given:
            reach[a, b] = True
        for k in range(8):
            reach |= reach[:, [k]] & reach[[k]]
        assert closed == {(str(a), str(b)) for a, b in np.argwhere(reach)}


def scored(totals, human=False):
    """A candidate a total, the first the human's if there is one."""
    return [
        (
            candidate(f"c{i}", "human" if human and i == 0 else "student"),
            Judgement(
                prompt_id="p1",
                candidate_id=f"c{i}",
                teacher="t",
                total=total,
                status="ok" if total is not None else "failed",
            ),
        )
        for i, total in enumerate(totals)
    ]


def test_scores_within_the_band_make_no_pair():
    assert edges(order(scores, scored([3.0, 2.6, 1.0]))) == {("c0", "c1"), ("c0", "c2"), ("c1", "c2")}
    assert edges(order(scores, scored([3.0, 2.6, 1.0]), band=0.5)) == {("c0", "c2"), ("c1", "c2")}


def test_a_score_that_is_missing_abstains():
    assert edges(order(scores, scored([None, 2.0, 1.0]))) == {("c1", "c2")}


def test_the_human_answer_is_the_target_and_not_ranked_unless_wanted():
    found = order(scores, scored([1.0, 3.0, 2.0], human=True))
    assert edges(found) == {("c1", "c2")}
    assert found.target == "c0"
    assert edges(order(scores, scored([1.0, 3.0], human=True), rank_human=True)) == {("c1", "c0")}
