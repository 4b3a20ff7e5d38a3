import pytest

from data.records import Candidate, Prompt
from stages.grading import TaskSettings, grade
from stages.teachers import rule

LABELS = TaskSettings(labels=("entailment", "neutral", "contradiction"))
QUESTIONS = TaskSettings()


def prompt(**fields):
    return Prompt(prompt_id="p", text="?", source="s", cluster_id="p", split="test", **fields)


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        ("because.\nlabel: neutral", "neutral", "neutral"),
        ("because.\nLabel: Neutral  \n", "neutral", "neutral"),
        ("label: neutral\nbecause.", None, "neutral"),
        ("it is neutral, so label: neutral", None, "neutral"),
        ("no entailment but\nlabel: contradiction", "contradiction", "contradiction"),
        ("first entailment then neutral", None, "neutral"),
        ("label: neutrality", None, None),
        ("", None, None),
    ],
)
def test_strict_wants_the_last_line_loose_the_last_word(text, strict, loose):
    found = grade(text, prompt(label="neutral"), LABELS)
    assert (found.label_strict, found.label_loose) == (strict, loose)
    assert (found.correct_strict, found.correct_loose) == (strict == "neutral", loose == "neutral")


@pytest.mark.parametrize(
    ("text", "exact", "inside"),
    [
        ("The Denver Broncos!", True, True),
        ("it was the Denver Broncos, 2015", False, True),
        ("Broncos", False, False),
        ("", False, False),
    ],
)
def test_questions_are_graded_after_squads_normalisation(text, exact, inside):
    found = grade(text, prompt(answers=("Denver Broncos", "the Broncos of Denver")), QUESTIONS)
    assert (found.correct_strict, found.correct_loose) == (exact, inside)


def test_the_rule_judges_every_candidate_and_says_when_it_cannot_read_one():
    texts = {"a": "x\nlabel: neutral", "b": "x\nlabel: entailment", "c": "no idea"}
    candidates = [Candidate(prompt_id="p", candidate_id=i, text=t, source="student") for i, t in texts.items()]
    (found,) = rule.judge([(prompt(label="neutral"), candidates)], rule.Settings(), LABELS, None)
    assert [(j.candidate_id, j.correct, j.total) for j in found] == [
        ("a", True, 1.0),
        ("b", False, 0.0),
        ("c", False, 0.0),
    ]
    assert found[2].rationale
    assert not found[0].rationale


def test_without_gold_there_is_no_verdict():
    candidate = Candidate(prompt_id="p", candidate_id="a", text="x\nlabel: neutral", source="student")
    ((found,),) = rule.judge([(prompt(), [candidate])], rule.Settings(), LABELS, None)
    assert (found.correct, found.total, found.label) == (None, None, "neutral")
