"""A judge that is loaded here, against a real model that was made to say certain things."""

import json
from types import SimpleNamespace

import pytest

from hasse.stages.chat.json_replies import SYSTEM
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.teachers import transformers
from hasse.stages.models.lazy import LoadedModel
from tests.scripted_model import item, scripted

TASK = TaskSettings(labels=("yes", "no"))
ONE_ASPECT = ({"name": "quality", "description": "How good it is."},)


def reply(**scores):
    """One word, for a tokenizer that splits at spaces."""
    given = {tag: {"rationale": "So.", "scores": {"quality": score}} for tag, score in scores.items()}
    return json.dumps({"candidates": given}, separators=(",", ":"))


def judged(replies, items, *, repeat=0, ends=True, **settings):
    model, tokenizer = scripted(replies, ends=ends)
    lazy = SimpleNamespace(loaded=LoadedModel(model, tokenizer, "w", "t"), tokenizer=tokenizer, context=1024)
    made = transformers.Settings(aspects=ONE_ASPECT, max_tokens=8, **settings)
    return list(transformers.judge(items, made, TASK, lazy, repeat=repeat))


def test_what_the_model_writes_is_read_as_any_judges_reply():
    ((first, second),) = judged([reply(A=7, B=3)], [item("label: yes", "label: no")])
    assert {p.slot: p.total for p in first.presentations} == {1: 7.0, 2: 3.0}
    assert (first.total, second.total, first.teacher, first.status) == (5.0, 5.0, "transformers", "ok")
    assert (first.rationale, first.correct, second.correct) == ("So.", True, False)


@pytest.mark.parametrize(
    ("replies", "ends", "status", "error"),
    [
        (["nonsense"], True, "unparsable", "no JSON object with 'candidates'"),
        ([reply(A=7)], True, "unparsable", "missing: B"),
        ([reply(A=7, B=3)], False, "truncated", "longer than max_tokens"),
        ([""], True, "refused", "an empty answer"),
    ],
)
def test_what_cannot_be_used_has_a_status(replies, ends, status, error):
    ((first, second),) = judged(replies, [item("x", "y")], ends=ends)
    assert {first.status, second.status} == {status}
    assert first.total is None
    assert error in first.error
    assert {p.num_asks for p in first.presentations} == {2 if status == "unparsable" else 1}


def test_a_question_that_does_not_fit_is_filtered_and_the_others_are_asked():
    long, short = judged([reply(A=7, B=3)], [item("x " * 1000, "y"), item("x", "y", prompt_id="q")])
    assert {j.status for j in long} == {"filtered"}
    assert "1024" not in long[0].error
    assert "1016 fit beside 8 new ones" in long[0].error
    assert {j.status for j in short} == {"ok"}


def test_samples_are_functions_of_the_question_and_of_how_often_it_is_asked():
    replies = [reply(A=score, B=5) for score in (1, 2, 3, 8, 9)]
    items = [item(f"{n}", "y", prompt_id=f"p{n}") for n in range(12)]

    def totals(which, **settings):
        return [rows[0].total for rows in judged(replies, which, temperature=1.0, **settings)]

    found = totals(items)
    assert len(set(found)) > 3
    assert totals(items[5:8], batch_size=1) == found[5:8]
    assert totals(items, repeat=1) != found
    assert totals(items, repeat=1) == totals(items, repeat=1)
    assert totals(items, seed=1) != found
    greedy = [rows[0].total for rows in judged(replies, items)]
    assert greedy == [rows[0].total for rows in judged(replies, items, repeat=1)]


def test_the_instruction_and_the_question_go_through_the_chat_template(monkeypatch):
    seen = []
    model, tokenizer = scripted([reply(A=7)])
    render = tokenizer.apply_chat_template
    monkeypatch.setattr(
        tokenizer, "apply_chat_template", lambda turns, **how: seen.append(turns) or render(turns, **how)
    )
    lazy = SimpleNamespace(loaded=LoadedModel(model, tokenizer, "w", "t"), tokenizer=tokenizer, context=1024)
    list(transformers.judge([item("the answer")], transformers.Settings(aspects=ONE_ASPECT), TASK, lazy))
    (turn,) = seen[-1]
    assert turn["role"] == "user"
    assert turn["content"].startswith(f"{SYSTEM}\n\nScore several answers")
    assert "[Answer A]\nthe answer\n" in turn["content"]
