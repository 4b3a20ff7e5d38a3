"""The tokens that end an answer: all that the config, the tokenizer or the generation settings of a model name.

Many chat models name the end of a turn in only one of the three, for example `<|eot_id|>` or `<end_of_turn>` in
generation_config.json. A sampler that does not know such a token would continue up to the limit of tokens.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.stages.models.chat_template import render_chat

CONFIG, GENERATION = "config.json", "generation_config.json"
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
ANSWER = "Answer"


def remember_ends(tokenizer: Any, folder: Path) -> None:
    """Store the end tokens that the model's files name in the tokenizer object; they are not saved with it."""
    tokenizer.ends_of_model = sorted({i for name in (CONFIG, GENERATION) for i in _named(_read(folder / name))})


def end_token_ids(tokenizer: Any, model: Any = None) -> list[int]:
    """The ids of tokens that end an answer, sorted; empty where no file names such a token."""
    ends = {tokenizer.eos_token_id, *getattr(tokenizer, "ends_of_model", ())}
    if model is not None:
        for settings in (model.config, model.config.get_text_config(), getattr(model, "generation_config", None)):
            ends |= set(_ids(getattr(settings, "eos_token_id", None)))
    return sorted(ends - {None})


def trained_end_id(tokenizer: Any) -> int:
    """The token at the end of each answer in training.

    This is the token that the chat template writes after an answer if it is an end token, else the tokenizer's own.
    """
    template, known = getattr(tokenizer, "known_end", (None, None))
    if known is None or template != tokenizer.chat_template:
        ends = end_token_ids(tokenizer)
        written = next((i for i in _after_an_answer(tokenizer) if i in ends), tokenizer.eos_token_id)
        known = ends[0] if written is None else written
        tokenizer.known_end = tokenizer.chat_template, known
    return known


def keep_special_tokens(source: Path, target: Path) -> None:
    """Copy the generation settings and the config's special tokens from the folder `source` to a saved model."""
    if (source / GENERATION).is_file():
        shutil.copyfile(source / GENERATION, target / GENERATION)
    given, saved = _read(source / CONFIG), _read(target / CONFIG)
    kept = {name: given.get(name) for name in SPECIAL if name in given or name in saved}
    (target / CONFIG).write_text(json.dumps(saved | kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _after_an_answer(tokenizer: Any) -> list[int]:
    """The token ids that the chat template writes after an answer; empty without a template that accepts answers."""
    if not tokenizer.chat_template:
        return []
    turns = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": ANSWER}]
    try:
        text = render_chat(tokenizer, turns, add_generation_prompt=False)
    except InputError:
        return []
    _, answer, rest = text.rpartition(ANSWER)
    return list(tokenizer(rest, add_special_tokens=False).input_ids) if answer and rest else []


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _named(settings: dict[str, Any]) -> Iterator[int]:
    yield from _ids(settings.get("eos_token_id"))
    yield from _ids((settings.get("text_config") or {}).get("eos_token_id"))


def _ids(value: Any) -> list[int]:
    """The ids in a setting. Published models give one id, a list, or none."""
    return value if isinstance(value, list) else [] if value is None else [value]
