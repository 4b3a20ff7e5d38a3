"""Tokenise the letters of control tokens in questions and answers as ordinary text.

A chat template writes control tokens such as `<|im_end|>`. If a text holds the same letters, a tokenizer would read the
control token, so a user could end a turn or begin one for another role. A conversation with such letters is therefore
rendered twice, once with private-use characters in their place, which shows the tokens of the template itself. Then a
copy of the tokenizer, in which control tokens have other names, tokenises the whole conversation at once. So the text
around the control tokens gets the same tokens as from the original tokenizer.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from hasse.data.errors import InputError
from hasse.stages.models.chat_template import Turns, render_chat
from hasse.stages.models.end_tokens import end_token_ids

ALIASES, SPELLED = 0xF0000, 0x100000
"""The first private-use characters that stand for a template's tokens, and for texts that look like such tokens."""


class ControlTokens:
    """The control tokens of a tokenizer: special tokens, ends of answers, and added tokens that the template writes.

    Other added tokens, such as `<think>` or a run of spaces, are ordinary vocabulary.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        written = _written_by_template(tokenizer)
        ends = {str(tokenizer.convert_ids_to_tokens(i)) for i in end_token_ids(tokenizer) if i in added}
        known = {t.content for t in added.values() if t.special or t.content in ends or t.content in written}
        self.names = sorted(filter(str.strip, known), key=lambda name: (-len(name), name))
        self.pattern = _any_of(self.names)
        self.folded = _any_of(sorted({_folded(name.strip()) for name in self.names}, key=len, reverse=True))

    def are_in(self, texts: Iterable[str]) -> bool:
        """Whether the concatenated texts hold letters that may be read as a control token."""
        return bool(self.names) and self.folded.search(_folded("".join(texts))) is not None

    def encode_text(
        self, text: str, pair: str | None = None, *, add_special_tokens: bool
    ) -> tuple[list[int], list[int]]:
        """(token ids, token types) of a text or a pair; the only control tokens are those that the tokenizer adds."""
        _check_private(text + (pair or ""))
        encoding = self.reader.encode(text, pair, add_special_tokens=add_special_tokens)
        return list(encoding.ids), list(encoding.type_ids)

    def encode_chat(self, turns: Turns, render: Callable[[Turns], str]) -> list[int]:
        """Token ids of the rendered conversation; the only control tokens are those that the template writes.

        Raises InputError where the template changes a text that holds the letters of a control token.
        """
        rendered = render(turns)
        _check_private(rendered)
        spelled = _Spelled(self.names, self.pattern)
        hidden = render([{**turn, "content": spelled.hide(turn["content"])} for turn in turns])
        if spelled.show(hidden) != rendered:
            raise InputError("a text holds a control token, and the chat template changes such a text; take it out")
        written = self.pattern.sub(lambda match: self.alias[match[0]], hidden)
        return list(self.reader.encode(spelled.show(written), add_special_tokens=False).ids)

    @cached_property
    def alias(self) -> dict[str, str]:
        return {name: chr(ALIASES + i) for i, name in enumerate(self.names)}

    @cached_property
    def reader(self) -> Any:
        """A copy of the tokenizer in which each control token is known only by its alias.

        Raises InputError for a tokenizer that is written in Python.
        """
        from tokenizers import Tokenizer

        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(
                "a text holds a control token, and the tokenizer has no tokenizer.json by which the token could be "
                "read as text; save the tokenizer in the fast form, or take the token out"
            )
        reader = Tokenizer.from_str(json.dumps(_renamed(json.loads(backend.to_str()), self.alias)))
        reader.no_truncation()
        reader.no_padding()
        return reader


def control_tokens(tokenizer: Any) -> ControlTokens:
    """The control tokens of a tokenizer, computed once."""
    template, known = getattr(tokenizer, "known_control_tokens", (None, None))
    if known is None or template != tokenizer.chat_template:
        known = ControlTokens(tokenizer)
        tokenizer.known_control_tokens = tokenizer.chat_template, known
    return known


class _Spelled:
    """Replaces texts that look like control tokens by private-use characters, and back."""

    def __init__(self, names: Sequence[str], pattern: re.Pattern[str]):
        self.names, self.pattern = names, pattern
        self.letter: dict[str, str] = {}

    def hide(self, content: str) -> str:
        """Replace control tokens, and the beginning of one at the text's end, which the next turn might complete."""
        content = self.pattern.sub(lambda match: self._hidden(match[0]), content)
        longest = max((n for name in self.names for n in range(1, len(name)) if content.endswith(name[:n])), default=0)
        return content[: len(content) - longest] + self._hidden(content[-longest:]) if longest else content

    def show(self, text: str) -> str:
        for name, letter in self.letter.items():
            text = text.replace(letter, name)
        return text

    def _hidden(self, name: str) -> str:
        return self.letter.setdefault(name, chr(SPELLED + len(self.letter)))


def _check_private(text: str) -> None:
    """Raises InputError for a text that holds private-use characters, which could be aliases."""
    if any(ord(letter) >= ALIASES for letter in text):
        raise InputError("a text holds a control token and private-use characters at once; take one of them out")


def _written_by_template(tokenizer: Any) -> set[str]:
    """Added tokens that the chat template writes around the turns of a plain conversation."""
    if not tokenizer.chat_template:
        return set()
    turns = [{"role": role, "content": "Text"} for role in ("user", "assistant", "user")]
    try:
        text = render_chat(tokenizer, turns, add_generation_prompt=False)
    except InputError:
        return set()
    names = {t.content for t in tokenizer.added_tokens_decoder.values()}
    return {name for name in names if name.strip() and name in text}


def _renamed(tokenizer: dict[str, Any], alias: dict[str, str]) -> dict[str, Any]:
    """The content of a tokenizer.json in which tokens have other names and the same ids.

    They are renamed in the model's vocabulary too, since some models would use them from there.
    """
    for token in tokenizer["added_tokens"]:
        token["content"] = alias.get(token["content"], token["content"])
    model = tokenizer["model"]
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {alias.get(piece, piece): i for piece, i in vocab.items()}
    else:
        model["vocab"] = [[alias.get(piece, piece), score] for piece, score in vocab]
    if model.get("unk_token") in alias:
        model["unk_token"] = alias[model["unk_token"]]
    return tokenizer


def _any_of(names: Sequence[str]) -> re.Pattern[str]:
    """A pattern for any of the names, the longest of which come first; without names it matches nothing."""
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def _folded(text: str) -> str:
    """The text as a normalising tokenizer may read it."""
    return unicodedata.normalize("NFKC", text).casefold()
