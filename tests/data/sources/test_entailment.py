from collections import Counter

import pytest

from hasse.data.errors import SourceError
from hasse.data.sources import entailment
from hasse.data.sources.entailment import LABELS, Riddle, Settings, rows

SMALL = {"num_pretrain": 300, "num_train": 60, "num_validation": 30, "num_test": 30}


@pytest.mark.parametrize(
    ("facts", "claim", "label"),
    [
        ([("a", "b")], ("a", "b"), "entailment"),
        ([("a", "b")], ("b", "a"), "contradiction"),
        ([("a", "b"), ("b", "c")], ("a", "c"), "entailment"),
        ([("b", "c"), ("a", "b")], ("c", "a"), "contradiction"),
        ([("a", "b"), ("a", "c")], ("b", "c"), "neutral"),
        ([("a", "c"), ("b", "c")], ("a", "b"), "neutral"),
        ([("a", "b"), ("b", "c")], ("a", "d"), "neutral"),
    ],
)
def test_the_rules_know_the_truth(facts, claim, label):
    assert Riddle("taller", tuple(facts), claim, "taller").label == label
    assert Riddle("taller", tuple(facts), claim, "older").label == "neutral"


def test_an_answer_explains_and_ends_with_its_label():
    riddle = Riddle("taller", (("Ann", "Bob"), ("Bob", "Cal")), ("Cal", "Ann"), "taller")
    assert riddle.answer("contradiction") == (
        "Ann is taller than Bob and Bob is taller than Cal, so Ann is taller than Cal.\nlabel: contradiction"
    )


def test_splits_share_no_premise_and_labels_are_balanced():
    found = list(rows(Settings(**SMALL)))
    assert Counter(r.split for r in found) == {"pretrain": 300, "train": 60, "validation": 30, "test": 30}
    assert Counter(r.label for r in found) == dict.fromkeys(LABELS, 140)
    by_key = {}
    for row in found:
        assert by_key.setdefault(row.cluster_key, row.split) == row.split
    assert len({r.text for r in found}) == len(found)


def test_only_pretraining_answers_are_noisy_and_as_often_as_asked():
    found = list(rows(Settings(**{**SMALL, "num_pretrain": 1500}, noise=0.3)))
    wrong = [not r.reference.endswith(f"label: {r.label}") for r in found if r.split == "pretrain"]
    assert sum(wrong) / len(wrong) == pytest.approx(0.3, abs=0.04)
    assert all(r.reference.endswith(f"label: {r.label}") for r in found if r.split != "pretrain")


def test_more_prompts_leave_the_first_as_they_were():
    few = [r for r in rows(Settings(**SMALL)) if r.split == "train"]
    many = [r for r in rows(Settings(**{**SMALL, "num_train": 100})) if r.split == "train"]
    assert many[:60] == few


def test_the_same_settings_give_the_same_prompts_and_another_seed_others():
    assert list(rows(Settings(**SMALL))) == list(rows(Settings(**SMALL)))
    assert list(rows(Settings(**SMALL, seed=1))) != list(rows(Settings(**SMALL)))


def test_more_prompts_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr(entailment, "MAX_TRIES", 200)
    with pytest.raises(SourceError, match="raise num_names"):
        list(rows(Settings(num_pretrain=0, num_train=50_000, num_names=4)))
