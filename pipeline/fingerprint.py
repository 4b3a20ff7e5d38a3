"""Keys over canonical JSON and bytes, never over a pickle."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]

WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth"}
MODEL_FILES = ("config.json", "generation_config.json")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Raises TypeError, ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def text_digest(*parts: str) -> str:
    """sha256 of some strings, unambiguous about where one ends; quicker than `digest` for a million rows."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode()
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digests(folder: Path) -> dict[str, str]:
    """A model folder's identity: its weights, its tokenizer, its chat template.

    Beside the weights count the config and the generation settings, which may name the tokens that end an answer.

    The template is digested on its own wherever it stands: a file of its own or a key of tokenizer_config.json.
    """
    weights = [f for f in sorted(folder.iterdir()) if f.suffix in WEIGHT_SUFFIXES or f.name in MODEL_FILES]
    return {
        "weights": digest({f.name: file_digest(f) for f in weights}),
        "tokenizer": digest({name: _tokenizer_part(folder / name) for name in TOKENIZER_FILES}),
        "template": digest(_template(folder)),
    }


def differences(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, left value, right value) for every leaf that differs; None where one side lacks it."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(set(left) | set(right)):
        a, b = left.get(key), right.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((f"{prefix}{key}", a, b))
    return found


def _tokenizer_part(path: Path) -> Any:
    if not path.exists():
        return None
    if path.name != "tokenizer_config.json":
        return file_digest(path)
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "chat_template"}


def _template(folder: Path) -> Any:
    parts: Json = {name: (folder / name).read_text() for name in TEMPLATE_FILES if (folder / name).exists()}
    config = folder / "tokenizer_config.json"
    if config.exists():
        parts["inline"] = json.loads(config.read_text()).get("chat_template")
    return parts
