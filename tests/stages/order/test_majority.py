"""Verdicts of judges as partial orders: weighed, with ties, with cycles that are found."""

import json
import math
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from hasse.data.errors import InputError, SourceError
from hasse.data.records import Candidate, Prompt
from hasse.stages.order.majority import (
    WeightedVerdict,
    bradley_terry,
    break_cycles,
    find_cycle,
    from_ranking,
    majority,
    refuse_cycles,
    tally,
)
from hasse.stages.order.strategies import verdicts as strategy

PROMPT = Prompt(prompt_id="p1", text="?", source="s", cluster_id="p1", split="train")


def wins(*edges, weight=1.0):
    return [WeightedVerdict(a=a, b=b, better=a, weight=weight) for a, b in edges]


def tie(a, b, weight=1.0):
    return WeightedVerdict(a=a, b=b, better=None, weight=weight)


def judged(names):
    return [(Candidate(prompt_id="p1", candidate_id=name, text=name, source="student"), None) for name in names]


def order(verdicts, names, **settings):
    found = strategy.order(verdicts, "p1", judged(names), strategy.Settings(path="unused", **settings))
    return {(pair.above, pair.below) for pair in found.pairs}, found


def test_a_star_of_comparisons_stays_a_star():
    pairs, found = order([*wins(("hub", "x"), ("y", "hub")), tie("hub", "z")], ["hub", "x", "y", "z"])
    assert pairs == {("hub", "x"), ("y", "hub")}
    assert found.target == "y"
    implied, _ = order(wins(("hub", "x"), ("y", "hub")), ["hub", "x", "y"], implied=True)
    assert implied == {("hub", "x"), ("y", "hub"), ("y", "x")}


def test_judges_are_weighed_and_ties_count_into_the_balance():
    verdicts = [*wins(("a", "b")), *wins(("b", "a"), weight=2.0), tie("a", "b", weight=2.0)]
    (found,) = tally(verdicts).values()
    assert (found.balance, found.weight) == (pytest.approx(-0.2), 5.0)
    assert majority(tally(verdicts)) == {("b", "a"): pytest.approx(1.0)}
    assert majority(tally(verdicts), band=0.2) == {}


def test_the_order_of_the_two_names_does_not_matter():
    one = [WeightedVerdict(a="a", b="b", better="b")]
    other = [WeightedVerdict(a="b", b="a", better="b")]
    assert majority(tally(one)) == majority(tally(other)) == {("b", "a"): 1.0}


def test_a_ranking_is_all_its_pairs_with_ties():
    above = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert majority(tally(from_ranking([["a"], ["b", "c"], ["d"]]))) == dict.fromkeys(above, 1.0)


def test_a_cycle_is_named_and_refused():
    with pytest.raises(InputError, match=r"prompt p1.*a > b > c > a"):
        order(wins(("a", "b"), ("b", "c"), ("c", "a")), "abc")


def test_a_cycle_is_broken_at_its_weakest_pair_and_counted():
    verdicts = [*wins(("a", "b"), ("b", "c"), weight=2.0), *wins(("c", "a"))]
    pairs, found = order(verdicts, "abc", cycles="break")
    assert pairs == {("a", "b"), ("b", "c")}
    assert [(p.above, p.below) for p in found.dropped] == [("c", "a")]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_has_no_cycle_and_nothing_more_than_needed_was_dropped_from_an_order(seed):
    draw = random.Random(seed)
    names = "abcdefg"
    strength = {(a, b): draw.random() for a in names for b in names if a < b and draw.random() < 0.8}
    assert break_cycles(strength) == (set(strength), [])
    turned = {(b, a) if draw.random() < 0.4 else (a, b): value for (a, b), value in strength.items()}
    kept, dropped = break_cycles(turned)
    assert find_cycle(kept) is None
    assert kept | set(dropped) == set(turned)
    assert not kept & set(dropped)
    for edge in dropped:
        assert find_cycle({*kept, *dropped}) is not None
        assert edge in turned
    refuse_cycles(kept, where="here")


def test_bradley_terry_finds_the_strengths_that_made_the_verdicts():
    truth = {"a": 1.0, "b": 0.2, "c": -1.2}
    verdicts = []
    for a in truth:
        for b in truth:
            if a < b:
                share = 1 / (1 + math.exp(truth[b] - truth[a]))
                verdicts += [*wins((a, b), weight=1000 * share), *wins((b, a), weight=1000 * (1 - share))]
    found = bradley_terry(tally(verdicts), prior=1e-3)
    assert found == pytest.approx(truth, abs=1e-3)
    assert sum(found.values()) == pytest.approx(0)


def test_bradley_terry_is_finite_for_one_that_always_wins_and_counts_a_tie_as_half():
    found = bradley_terry(tally(wins(("a", "b"), ("a", "c"))))
    assert found["a"] > found["b"] == pytest.approx(found["c"])
    assert math.isfinite(found["a"])
    assert bradley_terry(tally([tie("a", "b")])) == pytest.approx({"a": 0.0, "b": 0.0})
    pairs, _ = order(wins(("a", "b"), ("b", "c")), "abc", aggregate="bradley_terry")
    assert pairs == {("a", "b"), ("b", "c"), ("a", "c")}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path, names="abc", **settings):
    (found,) = strategy.orders([(PROMPT, judged(names))], strategy.Settings(path=str(path), **settings))
    return {(pair.above, pair.below) for pair in found.pairs}


def test_a_file_may_hold_comparisons_and_rankings(tmp_path):
    path = write(
        tmp_path / "v.jsonl",
        {"prompt_id": "p1", "a": "a", "b": "b", "verdict": "a", "judge": "ann"},
        {"prompt_id": "p1", "a": "a", "b": "b", "verdict": "b", "judge": "bob"},
        {"prompt_id": "p1", "a": "a", "b": "c", "verdict": "abstain"},
        {"prompt_id": "p1", "ranking": ["c", "b"]},
        {"prompt_id": "other", "a": "x", "b": "y", "verdict": "tie"},
    )
    assert read(path) == {("c", "b")}
    assert read(path, judge_weights={"bob": 3.0}) == {("c", "b"), ("b", "a")}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt_id": "p1", "a": "a", "b": "b", "verdict": "better"}, "row 1.*verdict.*'better'"),
        ({"prompt_id": "p1", "a": "a", "verdict": "a"}, "row 1.*'?b'?.*missing"),
        ({"a": "a", "b": "b", "verdict": "a"}, "prompt_id"),
        ({"prompt_id": "p1", "a": "a", "b": "a", "verdict": "a"}, "itself"),
        ({"prompt_id": "p1", "a": "a", "b": "z", "verdict": "a"}, "no candidate 'z'"),
        ({"prompt_id": "p1", "a": "a", "b": "b", "verdict": "a", "weight": "much"}, "weight.*not a number"),
        ({"prompt_id": "p1", "ranking": ["a", ["b", "a"]]}, "twice"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, message):
    with pytest.raises(SourceError, match=rf"(?s)v\.jsonl.*{message}|{message}"):
        read(write(tmp_path / "v.jsonl", row))


DATA = Path(os.environ.get("HASSE_TEST_DATA", "absent"))


@pytest.mark.skipif(not DATA.is_dir(), reason="HASSE_TEST_DATA names a folder with the Vicuna reviews")
def test_real_reviews_give_the_order_that_was_judged():
    """GPT-4's reviews of seven models' answers to 80 questions: some pairs only, with ties."""
    model = {
        row["answer_id"]: row["model"]
        for row in map(json.loads, (DATA / "vicuna_answers.jsonl").read_text().splitlines())
    }
    by_question: dict[str, list[WeightedVerdict]] = {}
    compared: dict[str, set[frozenset[str]]] = {}
    signs: dict[tuple[str, frozenset[str]], Counter[str | None]] = {}
    for row in map(json.loads, (DATA / "vicuna_gpt4_reviews.jsonl").read_text().splitlines()):
        a, b, first, second = model[row["answer1_id"]], model[row["answer2_id"]], row["score1"], row["score2"]
        if first is None or second is None or a == b:
            continue
        better = None if float(first) == float(second) else a if float(first) > float(second) else b
        question = row["question_id"]
        by_question.setdefault(question, []).append(WeightedVerdict(a=a, b=b, better=better))
        compared.setdefault(question, set()).add(frozenset((a, b)))
        signs.setdefault((question, frozenset((a, b))), Counter())[better] += 1
    assert len(by_question) == 80
    num_ties = 0
    for question, verdicts in by_question.items():
        names = sorted({name for v in verdicts for name in (v.a, v.b)})
        pairs, found = order(verdicts, names, cycles="break")
        assert {frozenset(pair) for pair in pairs} <= compared[question]
        for pair in compared[question]:
            counts = signs[question, pair]
            a, b = sorted(pair)
            if counts[a] == counts[b]:
                num_ties += 1
                assert not {(a, b), (b, a)} & pairs
        dropped = {(p.above, p.below) for p in found.dropped}
        for above, below in pairs | dropped:
            counts = signs[question, frozenset((above, below))]
            assert counts[above] > counts[below]
    assert num_ties > 0
