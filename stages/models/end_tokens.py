"""The tokens that end an answer: all that a model folder's config, tokenizer or generation settings name.

Many chat models name the end of a turn in one of the three only, for instance `<|eot_id|>` or `<end_of_turn>` in
generation_config.json alone. A sampler that does not know such a token runs on to the limit.
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
    """Let the tokenizer know which end tokens the model's files name; it saves nothing of that."""
    tokenizer.ends_of_model = sorted({i for name in (CONFIG, GENERATION) for i in _named(_read(folder / name))})


def end_token_ids(tokenizer: Any, model: Any = None) -> list[int]:
    """Ids that end an answer, in order; empty where nothing names one."""
    found = {tokenizer.eos_token_id, *getattr(tokenizer, "ends_of_model", ())}
    if model is not None:
        for settings in (model.config, model.config.get_text_config(), getattr(model, "generation_config", None)):
            found |= set(_ids(getattr(settings, "eos_token_id", None)))
    return sorted(found - {None})


def trained_end_id(tokenizer: Any) -> int:
    """The token that a trained answer ends with.

    It is the one that the chat template writes behind an answer, if it is an end token; else the tokenizer's own.
    """
    template, known = getattr(tokenizer, "known_end", (None, None))
    if known is None or template != tokenizer.chat_template:
        ends = end_token_ids(tokenizer)
        written = next((i for i in _behind_an_answer(tokenizer) if i in ends), tokenizer.eos_token_id)
        known = ends[0] if written is None else written
        tokenizer.known_end = tokenizer.chat_template, known
    return known


def keep_special_tokens(source: Path, target: Path) -> None:
    """Give a saved model the generation settings of another folder, and its config's ids of special tokens."""
    if (source / GENERATION).is_file():
        shutil.copyfile(source / GENERATION, target / GENERATION)
    given, saved = _read(source / CONFIG), _read(target / CONFIG)
    kept = {name: given.get(name) for name in SPECIAL if name in given or name in saved}
    (target / CONFIG).write_text(json.dumps(saved | kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _behind_an_answer(tokenizer: Any) -> list[int]:
    """What the chat template writes there; nothing without a template, or where it does not take the conversation."""
    if not tokenizer.chat_template:
        return []
    turns = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": ANSWER}]
    try:
        text = render_chat(tokenizer, turns, add_generation_prompt=False)
    except InputError:
        return []
    _, answer, behind = text.rpartition(ANSWER)
    return list(tokenizer(behind, add_special_tokens=False).input_ids) if answer and behind else []


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _named(settings: dict[str, Any]) -> Iterator[int]:
    yield from _ids(settings.get("eos_token_id"))
    yield from _ids((settings.get("text_config") or {}).get("eos_token_id"))


def _ids(value: Any) -> list[int]:
    """One id, several, or none: all three stand in published models."""
    return value if isinstance(value, list) else [] if value is None else [value]
