"""Texts are text: a control token that stands in a question or an answer is spelled out, letter by letter.

A chat template writes control tokens such as `<|im_end|>`. Where a text holds the same letters, a tokenizer would read
the same token, so that a user could end a turn or begin one for somebody else. Here a conversation that holds such
letters is rendered twice, once with private-use characters in their place, so that the template's own tokens are known.
A copy of the tokenizer, which knows control tokens by another name, then reads the whole conversation in one go. So the
tokens of the text around them are those that the tokenizer itself would find.
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
"""Where the private-use characters begin that stand for a template's tokens, and for texts that look like them."""


class ControlTokens:
    """Those of one tokenizer: its special tokens, the ends of answers, and the added tokens that its template writes.

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
        """Whether the texts, one after another, hold what may be read as a control token."""
        return bool(self.names) and self.folded.search(_folded("".join(texts))) is not None

    def encode_text(
        self, text: str, pair: str | None = None, *, add_special_tokens: bool
    ) -> tuple[list[int], list[int]]:
        """(token ids, types) of texts without a control token in them, beside those that the tokenizer adds itself."""
        _check_private(text + (pair or ""))
        found = self.reader.encode(text, pair, add_special_tokens=add_special_tokens)
        return list(found.ids), list(found.type_ids)

    def encode_chat(self, turns: Turns, render: Callable[[Turns], str]) -> list[int]:
        """Ids of the rendered conversation, where control tokens are those that the template has written.

        Raises InputError where the template makes something else of a text that holds one.
        """
        rendered = render(turns)
        _check_private(rendered)
        spelled = _Spelled(self.names, self.pattern)
        hidden = render([{**turn, "content": spelled.hide(turn["content"])} for turn in turns])
        if spelled.show(hidden) != rendered:
            raise InputError("a text holds a control token, and the chat template changes such a text; take it out")
        written = self.pattern.sub(lambda found: self.alias[found[0]], hidden)
        return list(self.reader.encode(spelled.show(written), add_special_tokens=False).ids)

    @cached_property
    def alias(self) -> dict[str, str]:
        return {name: chr(ALIASES + i) for i, name in enumerate(self.names)}

    @cached_property
    def reader(self) -> Any:
        """The tokenizer, with each control token under its alias: under its own name there is none.

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
    """The tokenizer's, found once."""
    template, known = getattr(tokenizer, "known_control_tokens", (None, None))
    if known is None or template != tokenizer.chat_template:
        known = ControlTokens(tokenizer)
        tokenizer.known_control_tokens = tokenizer.chat_template, known
    return known


class _Spelled:
    """Texts that look like control tokens, each behind a private-use character."""

    def __init__(self, names: Sequence[str], pattern: re.Pattern[str]):
        self.names, self.pattern = names, pattern
        self.letter: dict[str, str] = {}

    def hide(self, content: str) -> str:
        """Also the beginning of a token at the text's end: what follows in the conversation might complete it."""
        content = self.pattern.sub(lambda found: self._hidden(found[0]), content)
        longest = max((n for name in self.names for n in range(1, len(name)) if content.endswith(name[:n])), default=0)
        return content[: len(content) - longest] + self._hidden(content[-longest:]) if longest else content

    def show(self, text: str) -> str:
        for name, letter in self.letter.items():
            text = text.replace(letter, name)
        return text

    def _hidden(self, name: str) -> str:
        return self.letter.setdefault(name, chr(SPELLED + len(self.letter)))


def _check_private(text: str) -> None:
    """Raises InputError for a text in which an alias could stand."""
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
    """The content of a tokenizer.json with tokens under other names and the same ids.

    They also leave the model's own vocabulary, out of which some models would choose them for a text.
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
    """The first of the names, which come longest first; nothing where there are none."""
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def _folded(text: str) -> str:
    """As normalising tokenizers may read it."""
    return unicodedata.normalize("NFKC", text).casefold()
