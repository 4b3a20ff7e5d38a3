"""Thinking among sampled tokens: which of them come before the answer, and limits of their own for both parts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from hasse.data.thinking import answer_spans, ends_in_thinking, split_thinking

OPENING_TOKENS = 24
"""The number of last tokens of a prompt in which to look for the template's tag that opens the thinking."""


def opens_thinking(prompt_ids: Sequence[int], tokenizer: Any) -> bool:
    """Whether a prompt ends with a tag that opens the thinking, so that the sampled text begins inside it."""
    return ends_in_thinking(tokenizer.decode(list(prompt_ids[-OPENING_TOKENS:])))


def split_sample(text: str, prompt_ids: Sequence[int], tokenizer: Any) -> tuple[str, str | None]:
    """(answer, thinking) in a text sampled after a prompt; the prompt's template may have opened the thinking."""
    parts = split_thinking(text, opened=opens_thinking(prompt_ids, tokenizer))
    return parts.answer, parts.thinking or None


def num_thinking_tokens(ids: Sequence[int], prompt_ids: Sequence[int], tokenizer: Any) -> int:
    """The number of sampled tokens before the answer, with the tags; all of them if the answer never begins."""
    text = _decoded(ids, tokenizer)
    spans = answer_spans(text, opened=opens_thinking(prompt_ids, tokenizer))
    starts = [start for start, end in spans if text[start:end].strip()]
    if not starts:
        return 0 if spans == [(0, len(text))] else len(ids)
    # the shortest beginning of the tokens that holds the text before the answer
    return bisect_left(range(len(ids)), starts[-1], key=lambda num: len(_decoded(ids[:num], tokenizer)))


def num_tokens_within(
    ids: Sequence[int], prompt_ids: Sequence[int], tokenizer: Any, *, max_tokens: int, max_thinking_tokens: int
) -> int:
    """How many of the sampled tokens stay within both limits. Thinking that is too long leaves no room for an answer.

    max_tokens: the most tokens of the answer, with the token that ends it.
    """
    thought = num_thinking_tokens(ids, prompt_ids, tokenizer)
    return max_thinking_tokens if thought > max_thinking_tokens else min(len(ids), thought + max_tokens)


def _decoded(ids: Sequence[int], tokenizer: Any) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True)
