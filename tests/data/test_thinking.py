"""Where a model's thinking ends and its answer begins."""

import pytest

from hasse.data.thinking import SplitText, ends_in_thinking, split_thinking


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("41", None, "41"),
        (" 41 \n", None, " 41 \n"),
        ("<think>maybe 42</think> 41", "maybe 42", "41"),
        ("<think>\n\n</think>\n\n41", "", "41"),
        ("maybe 42</think> 41", "maybe 42", "41"),
        ("<think>maybe 42", "maybe 42", ""),
        ("<think>maybe 42</think>", "maybe 42", ""),
        ("<THINK>maybe 42</Think>\n41", "maybe 42", "41"),
        ("<think>say <think> or </think> 42?</think> 41", "say  or  42?", "41"),
        ("<think>a</think> 41 </think>", "a", "41"),
        ("a</think>b</think>41", "ab", "41"),
        ("41 <think>or 42?", "or 42?", "41"),
        ("<thought>maybe 42</thought>41", "maybe 42", "41"),
        ("<reasoning>\nmaybe 42\n</reasoning>\n<answer>41</answer>", "maybe 42", "<answer>41</answer>"),
        ("<seed:think>42</seed:think>41", "42", "41"),
        ("[THINK]maybe 42[/THINK]41", "maybe 42", "41"),
        ("◁think▷42◁/think▷41", "42", "41"),
        ("<|START_THINKING|>42<|END_THINKING|>41", "42", "41"),
        (
            "<|channel|>analysis<|message|>42?<|end|><|start|>assistant<|channel|>final<|message|>41<|return|>",
            "42?",
            "41",
        ),
        ("<|channel|>analysis<|message|>maybe 42", "maybe 42", ""),
        ("analysisWe say 42.assistantfinal41", "We say 42.", "41"),
        ("analysis of variance", None, "analysis of variance"),
        ("Write `<think>` before and `</think>` after.", None, "Write `<think>` before and `</think>` after."),
        ("I think 42 < 43 > 41", None, "I think 42 < 43 > 41"),
    ],
)
def test_thinking_is_cut_off_and_kept(text, thinking, answer):
    found = split_thinking(text)
    assert found == SplitText(thinking, answer)
    assert found.is_cut_off == (thinking is not None and not answer)


def test_an_answer_to_a_prompt_that_opened_the_thinking_begins_inside():
    assert split_thinking("maybe 42", opened=True) == SplitText("maybe 42", "")
    assert split_thinking("maybe 42</think>41", opened=True) == SplitText("maybe 42", "41")


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("What does <think> mean?", False),
        ("What is 40 + 1?", False),
    ],
)
def test_a_prompt_opens_thinking_by_its_last_words(prompt, opened):
    assert ends_in_thinking(prompt) is opened
