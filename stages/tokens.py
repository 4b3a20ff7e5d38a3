"""Text to token ids, once: prompts with at most one BOS, completions with exactly one EOS where they ended."""

from collections.abc import Sequence
from typing import Any

from data.errors import InputError
from data.records import Message


def prompt_token_ids(tokenizer: Any, text: str, messages: Sequence[Message] | None = None) -> list[int]:
    """The ids after which the answer starts: through the chat template where there is one, else the text as it is.

    Raises InputError when `messages` are given without a template, or when the ids begin with two BOS.
    """
    if tokenizer.chat_template:
        turns = turns_of(text, messages)
        ids = list(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False))
    elif messages:
        raise InputError("the prompt is a list of messages but the model's tokenizer has no chat template")
    else:
        ids = list(tokenizer(text).input_ids)
        if ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
    bos = tokenizer.bos_token_id
    if bos is not None and bos != tokenizer.eos_token_id and ids[:2] == [bos, bos]:
        raise InputError("the tokenised prompt starts with two BOS tokens: the chat template adds one of its own")
    return ids


def turns_of(text: str, messages: Sequence[Message] | None = None) -> list[dict[str, str]]:
    """A conversation as chat templates take it."""
    return [{"role": m.role, "content": m.content} for m in messages or [Message(role="user", content=text)]]


def completion_token_ids(tokenizer: Any, text: str, *, ended: bool = True) -> list[int]:
    """The answer's ids, without BOS, and with EOS unless it was cut off."""
    ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    return [*ids, tokenizer.eos_token_id] if ended else ids
