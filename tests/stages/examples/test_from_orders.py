"""The tokens of a candidate as a completion, with thinking and without."""

import pytest

from hasse.data.records import Candidate
from hasse.stages.examples.from_orders import token_ids
from tests.stages import tokenizers


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.deepseek()


def candidate(tokenizer, sampled=None, **fields):
    ids = tuple(tokenizer(sampled, add_special_tokens=False).input_ids) if sampled else ()
    return Candidate(
        prompt_id="p", candidate_id="student-0", text="41", token_ids=ids, tokenizer_digest="t",
        finish_reason="length", source="student", **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sampled", "reasoning", "opened", "keep", "trained"),
    [
        ("41", None, False, False, "41"),
        ("<think>maybe 42</think>41", "maybe 42", False, False, "41"),
        ("<think>maybe 42</think>41", "maybe 42", False, True, "<think>maybe 42</think>41"),
        (None, "maybe 42", False, False, "41"),
        (None, "maybe 42", False, True, "<think>\nmaybe 42\n</think>\n\n41"),
        (None, "maybe 42", True, True, "\nmaybe 42\n</think>\n\n41"),
        (None, None, True, False, "\n\n</think>\n\n41"),
        ("maybe 42</think>41", "maybe 42", True, False, "\n\n</think>\n\n41"),
    ],
)
def test_thinking_is_trained_on_only_where_it_is_to_be_kept(tokenizer, sampled, reasoning, opened, keep, trained):
    """opened: the prompt ends with the tag that opens the thinking, so that the answer must close it."""
    given = candidate(tokenizer, sampled, reasoning=reasoning)
    assert tokenizer.decode(token_ids(given, tokenizer, "t", opened=opened, keep_reasoning=keep)) == trained
