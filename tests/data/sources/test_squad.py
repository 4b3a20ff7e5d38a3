import json

import pytest

from hasse.data.errors import SourceError
from hasse.data.sources import squad
from hasse.stages.grading import TaskSettings, exact_match, grade, token_f1
from hasse.stages.prompts.stage import PromptsSection, build_prompts


def write(path, *questions, context="Rome is the capital of Italy."):
    path.write_text(
        json.dumps({"version": "v2.0", "data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]})
    )
    return squad.Settings(path=str(path))


def question(number, *answers, impossible=False):
    return {
        "id": f"q{number}", "question": f"question {number}?", "is_impossible": impossible,
        "answers": [{"text": a, "answer_start": 0} for a in answers],
    }  # fmt: skip


def test_answerable_and_unanswerable_questions(tmp_path):
    asked = list(
        squad.rows(write(tmp_path / "s.json", question(1, "Rome", "Rome", "the city"), question(2, impossible=True)))
    )
    assert [(r.group, r.answers, r.reference) for r in asked] == [
        ("answerable", ("Rome", "the city"), "Rome"),
        ("unanswerable", (), "unanswerable"),
    ]
    assert asked[0].text == "Rome is the capital of Italy.\n\nQuestion: question 1?\nAnswer:"


def test_questions_of_a_paragraph_share_a_split(tmp_path):
    settings = write(tmp_path / "s.json", *(question(i, "Rome") for i in range(30)))
    prompts = build_prompts(list(squad.rows(settings)), PromptsSection(), source="squad", labels=())
    assert len({p.cluster_id for p in prompts}) == 1
    assert len({p.split for p in prompts}) == 1


@pytest.mark.parametrize(
    ("gold", "prediction", "exact", "f1"),
    [
        ("mathematical models of computation", "the mathematical models", 0, 0.666667),
        ("Denver Broncos", "Denver Broncos!", 1, 1),
        ("", "", 1, 1),
        ("", "no answer found", 0, 0),
        ("New York", "york new", 0, 1),
        ("5", "5", 1, 1),
    ],
)
def test_the_metric(gold, prediction, exact, f1):
    assert exact_match(prediction, gold) == bool(exact)
    assert token_f1(prediction, gold) == pytest.approx(f1, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "right", "score"), [("unanswerable", True, 1.0), ("Unanswerable.", True, 1.0), ("Rome", False, 0.0)]
)
def test_saying_that_there_is_no_answer_is_right_where_there_is_none(tmp_path, text, right, score):
    raw = list(squad.rows(write(tmp_path / "s.json", question(1, impossible=True))))
    (prompt,) = build_prompts(raw, PromptsSection(), source="squad", labels=())
    task = TaskSettings(no_answer="unanswerable")
    found = grade(text, prompt, task)
    assert task.has_gold(prompt)
    assert (found.correct_strict, found.correct_loose, found.score) == (right, right, score)


def test_saying_so_is_wrong_where_there_is_one(tmp_path):
    raw = list(squad.rows(write(tmp_path / "s.json", question(1, "Rome"))))
    (prompt,) = build_prompts(raw, PromptsSection(), source="squad", labels=())
    found = grade("unanswerable", prompt, TaskSettings(no_answer="unanswerable"))
    assert (found.correct_strict, found.score) == (False, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "shape of SQuAD"),
        ('{"version": 1}', "shape of SQuAD"),
        ('{"data": [{"paragraphs": [{"qas": [{"id": "a"}]}]}]}', "context"),
    ],
)
def test_another_shape_is_named(tmp_path, text, message):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(SourceError, match=rf"(?s)s\.json.*{message}"):
        list(squad.rows(squad.Settings(path=str(tmp_path / "s.json"))))


def test_a_question_without_text_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"(?s)s\.json.*question"):
        list(squad.rows(write(tmp_path / "s.json", {"id": "q", "question": " ", "answers": []})))
