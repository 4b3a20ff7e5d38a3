"""Grades: readings, gold answers that are missing, mathematics; docs/reading.md has the examples."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasse.data.records import Candidate, Prompt
from hasse.stages.grading import TaskSettings, exact_match, grade, stated
from hasse.stages.grading.tokens import canonical, may_hold, places, tokens
from hasse.stages.judge.teachers import rule

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


def test_the_reading_of_the_task_decides_verdict_and_label():
    said = "first entailment, then neutral"
    for reading, label in (("strict", None), ("loose", "neutral"), ("first", "entailment")):
        task = LABELS.model_copy(update={"reading": reading})
        assert stated(said, prompt(label="neutral"), task) == (label, label == "neutral")
    assert (LABELS.primary, QUESTIONS.primary) == ("strict", "loose")


def test_without_gold_nothing_is_right_or_wrong_and_nearness_is_to_the_expert():
    found = grade("It rained a lot", prompt(reference="It rained"), QUESTIONS)
    assert (found.correct_strict, found.correct_loose, found.correct_first) == (None, None, None)
    assert found.score == pytest.approx(2 * 2 / (3 + 2))  # "it rained lot" and "it rained", the article left out
    assert grade("x", prompt(), QUESTIONS).score is None
    assert grade("x", prompt(answers=("", " ")), QUESTIONS).correct_strict is None


@pytest.mark.parametrize(
    ("text", "reading", "right"),
    [
        ("unanswerable", "strict", True),
        ("The question is unanswerable.", "strict", False),
        ("The question is unanswerable.", "loose", True),
        ("It is not unanswerable: Rome.", "loose", False),
    ],
)
def test_a_question_without_an_answer_wants_that_said(text, reading, right):
    task = TaskSettings(no_answer="unanswerable", reading=reading)
    assert stated(text, prompt(), task)[1] is right
    if right:
        assert stated(text, prompt(answers=("Rome",)), task)[1] is False


@pytest.mark.parametrize(
    ("question", "text", "right"),
    [
        ("It is cold. Which element does not freeze?", "Helium does not freeze.", True),
        ("Which element never freezes?", "Helium cannot freeze at that pressure.", True),
        ("Which element doesn't freeze?", "It is not helium.", False),
        ("Which element doesn't freeze?", "Helium is wrong.", False),
        ("It is not warm. Which element freezes?", "Helium does not freeze.", False),
    ],
)
def test_a_question_for_what_is_not_is_answered_by_a_negated_sentence(question, text, right):
    assert stated(text, replace(prompt(answers=("helium",)), text=question), QUESTIONS)[1] is right


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("1/2", "The answer is 0.5", True),
        ("1/2", r"so $x = \frac{1}{2}$", True),
        ("2x + 2", "$2(x + 1)$", True),
        (r"\{1, 2\}", r"$\{2, 1\}$", True),
        ("5", "-5", False),
        ("41", "<think>42</think> 41", True),
        ("42", "<think>42</think> 41", False),
        ("42", "no idea", False),
    ],
)
def test_mathematics_is_compared_by_math_verify(gold, text, right):
    assert stated(text, prompt(answers=(gold,)), TaskSettings(answers_are="math"))[1] is right


def test_math_without_its_package_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install 'math-verify"):
        TaskSettings(answers_are="math")


def test_math_with_labels_and_labels_that_are_one_are_refused():
    with pytest.raises(ValueError, match="answers_are: math compares gold answers"):
        TaskSettings(answers_are="math", labels=("a", "b"))
    for labels in (("Yes", "yes"), ("not spam", "not-spam"), ("ｎｏ", "no"), ("caf\u00e9", "cafe\u0301"), ("a", " ")):  # noqa: RUF001
        with pytest.raises(ValueError, match="different words"):
            TaskSettings(labels=labels)
    assert TaskSettings(labels=("1", "0", "-1")).labels == ("1", "0", "-1")
    assert TaskSettings(labels=("+", "-")).labels == ("+", "-")


def test_a_text_with_half_a_character_is_refused_in_every_setting():
    with pytest.raises(ValueError, match="half of a character"):
        TaskSettings(no_answer="none \ud800")
    with pytest.raises(ValueError, match="half of a character"):
        TaskSettings(labels=("a", "b\udfff"))


WORDS = st.text(alphabet="abAB01 .,-%$'/*_<>{}\\\n你é", max_size=30)


@settings(max_examples=300, deadline=None)
@given(WORDS, WORDS)
def test_any_text_is_read_and_a_gold_answer_states_itself(text, gold):
    grade(text, prompt(label="a"), TaskSettings(labels=("a", "b")))
    asked = prompt(answers=(gold,))
    grade(text, asked, QUESTIONS)
    if "</" not in gold and gold.strip():
        found = grade(gold, asked, QUESTIONS)
        assert found.correct_strict
        assert found.correct_loose
        assert found.correct_first


PIECES = st.lists(
    st.sampled_from(["J. ", "K.", "Rome", "İ", "ß", "é", "'s ", " ", "-", "5", "1,000", "C++", "서울", "는 ", "the "])
)


@settings(max_examples=300, deadline=None)
@given(PIECES, PIECES, PIECES)
def test_the_quick_look_rules_out_no_gold_answer_that_stands_in_the_text(before, words, after):
    text, gold = canonical("".join([*before, *words, *after])), canonical("".join(words))
    if places(tokens(text), tokens(gold)):
        assert may_hold(text, gold)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["the", "a", "Rome", "new", "york", "big", "city"]), min_size=1, max_size=5))
def test_words_alone_are_read_strictly_as_squad_reads_them(words):
    gold = "Rome new york"
    assert grade(" ".join(words), prompt(answers=(gold,)), QUESTIONS).correct_strict == exact_match(
        " ".join(words), gold
    )
