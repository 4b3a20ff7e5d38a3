"""The JSON object that a judge's reply gives: after its thinking, and one."""

import pytest

from hasse.stages.chat.json_replies import json_object


@pytest.mark.parametrize(
    "text",
    [
        '{"verdict": 5}',
        'So: ```json\n{"verdict": 5}\n```',
        '<think>{"verdict": 1}</think>{"verdict": 5}',
        '{"verdict": 1}</think>{"verdict": 5}',
        '<think>{"verdict": 1}</think>\n```json\n{"verdict": 5}\n```',
        '<reasoning>first {"verdict": 1}, no</reasoning> {"verdict": 5}',
        '{"verdict": 5} {"verdict": 5}',
        '{"verdict": 5, "inner": {"verdict": 1}}',
        '{"result": {"verdict": 5}}',
        '{"other": 1} {"verdict": 5}',
        '{"rationale": "it says <think> and </think>", "verdict": 5}',
        '{"rationale": "{\\"verdict\\": 1}", "verdict": 5}',
        '<think>a brace { that never closes</think> {"verdict": 5}',
    ],
)
def test_the_object_after_the_thinking_counts(text):
    assert json_object(text, "verdict")["verdict"] == 5


def test_a_number_that_is_none_is_left_to_the_reader():
    assert str(json_object('{"verdict": NaN}', "verdict")["verdict"]) == "nan"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"verdict": 1} {"verdict": 5}', "2 JSON objects that disagree"),
        ('A draft: {"verdict": 1}\nThe reply: {"verdict": 5}', "disagree"),
        ('> {"verdict": 1}\n\n{"verdict": 5}', "disagree"),
        ('[{"verdict": 1}, {"verdict": 5}]', "disagree"),
        ('{"draft": {"verdict": 1}, "final": {"verdict": 5}}', "disagree"),
        ('{"verdict": 1, "verdict": 5}', "no JSON object"),
        ('<think>{"verdict": 1}', "no JSON object"),
        ('<think>{"verdict": 1}</think>', "no JSON object"),
        ("<think>hm</think> five", "no JSON object"),
        ("", "no JSON object"),
    ],
)
def test_a_reply_without_one_answer_is_unusable(text, problem):
    with pytest.raises(ValueError, match=problem):
        json_object(text, "verdict")
