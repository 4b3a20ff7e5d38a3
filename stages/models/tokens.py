"""Turn text into token ids: prompts with at most one BOS, completions with exactly one EOS unless they were cut off.

Prompts and answers are plain text: their letters never become control tokens (`hasse.stages.models.control_tokens`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from hasse.data.errors import InputError
from hasse.data.records import Message, Prompt
from hasse.data.rendering import asked_text, asked_turns
from hasse.stages.models.chat_template import Turns, render_chat
from hasse.stages.models.control_tokens import control_tokens
from hasse.stages.models.end_tokens import trained_end_id


def prompt_token_ids(tokenizer: Any, text: str, messages: Sequence[Message] | None = None) -> list[int]:
    """The token ids after which the answer starts: by the chat template if there is one, else of the text as it is.

    Raises InputError when `messages` are given without a template, when the template refuses them, or when the ids
    begin with two BOS.
    """
    if tokenizer.chat_template:
        ids = chat_token_ids(tokenizer, turns_of(text, messages), add_generation_prompt=True)
    elif messages:
        raise InputError("the prompt is a list of messages but the model's tokenizer has no chat template")
    else:
        ids = text_token_ids(tokenizer, text)["input_ids"]
        if ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
    bos = tokenizer.bos_token_id
    if bos is not None and bos != tokenizer.eos_token_id and ids[:2] == [bos, bos]:
        raise InputError("the tokenised prompt starts with two BOS tokens: the chat template adds one of its own")
    return ids


def asked_token_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """The token ids of a prompt as a model is asked it: with instruction and demonstrations, before the answer.

    Demonstrations are turns of the conversation, or text for a model without a chat template. Raises InputError as
    `prompt_token_ids` does.
    """
    if tokenizer.chat_template or prompt.messages:
        return prompt_token_ids(tokenizer, prompt.text, asked_turns(prompt))
    return prompt_token_ids(tokenizer, asked_text(prompt))


def turns_of(text: str, messages: Sequence[Message] | None = None) -> list[dict[str, str]]:
    """The conversation in the form that chat templates take."""
    return [{"role": m.role, "content": m.content} for m in messages or [Message(role="user", content=text)]]


def chat_token_ids(tokenizer: Any, turns: Turns, *, add_generation_prompt: bool) -> list[int]:
    """The token ids of a conversation by the chat template. Raises InputError where the template refuses it."""
    render = partial(render_chat, tokenizer, add_generation_prompt=add_generation_prompt)
    control = control_tokens(tokenizer)
    if control.are_in(turn["content"] for turn in turns):
        return control.encode_chat(turns, render)
    return list(tokenizer(render(turns), add_special_tokens=False).input_ids)


def text_token_ids(tokenizer: Any, text: str, pair: str | None = None) -> dict[str, list[int]]:
    """The model's inputs for a text or a pair of texts without a chat template, with the tokenizer's special tokens."""
    control = control_tokens(tokenizer)
    if control.are_in([text, pair or ""]):
        ids, types = control.encode_text(text, pair, add_special_tokens=True)
        inputs = {"input_ids": ids, "token_type_ids": types}
        return {name: inputs[name] for name in inputs if name in tokenizer.model_input_names}
    return {name: list(ids) for name, ids in tokenizer(text, pair, return_attention_mask=False).items()}


def completion_token_ids(tokenizer: Any, text: str, *, ended: bool = True) -> list[int]:
    """The token ids of an answer without BOS, followed by the token that ends an answer unless it was cut off."""
    control = control_tokens(tokenizer)
    if control.are_in([text]):
        ids, _ = control.encode_text(text, add_special_tokens=False)
    else:
        ids = list(tokenizer(text, add_special_tokens=False).input_ids)
    return [*ids, trained_end_id(tokenizer)] if ended else ids
