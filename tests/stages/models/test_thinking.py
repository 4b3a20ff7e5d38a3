"""Which sampled tokens are thinking, and limits of their own for thinking and answer."""

import pytest

from hasse.stages.models.thinking import num_thinking_tokens, num_tokens_within

OPENED = ["So?", "<think>\n"]


class Words:
    """A tokenizer whose token ids are the texts of the tokens."""

    def decode(self, ids, skip_special_tokens=False):
        return "".join(ids)


@pytest.mark.parametrize(
    ("prompt", "tokens", "thinking"),
    [
        ([], ["<think>", "maybe", " 42", "</think>", "41"], 4),
        (OPENED, ["maybe", " 42", "</think>", "41"], 3),
        ([], ["maybe", " 42</th", "ink>4", "1"], 3),  # the token that closes the thinking counts as thinking
        ([], ["<think>", "maybe"], 2),
        ([], ["4", "1"], 0),
    ],
)
def test_the_tokens_before_the_answer_are_counted(prompt, tokens, thinking):
    assert num_thinking_tokens(tokens, prompt, Words()) == thinking


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        (["<think>", "a", "</think>", "4", "1"], 5),
        (["<think>", "a", "</think>", "4", "1", "2", "3"], 5),  # the answer is cut, and its thinking is not counted
        (["<think>", "a", "b", "</think>", "4"], 3),  # one token too much of thinking leaves no answer
        (["<think>", "a", "b", "c", "d"], 3),
        (["4", "1", "2", "3"], 2),  # thinking that did not happen gives the answer no room
    ],
)
def test_thinking_and_answer_have_limits_of_their_own(tokens, kept):
    assert num_tokens_within(tokens, [], Words(), max_tokens=2, max_thinking_tokens=3) == kept
