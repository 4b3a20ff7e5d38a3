"""Digests of canonical JSON and of bytes, never of a pickle."""

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
    """The canonical JSON text of a value: sorted keys, no spaces, no NaN. Raises TypeError and ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """The sha256 of a value's canonical JSON, in 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def text_digest(*parts: str) -> str:
    """The sha256 of some strings and their lengths; for millions of rows this is faster than `digest`."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode()
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digests(folder: Path) -> dict[str, str]:
    """The digests of a model folder: its weights, its tokenizer and its chat template.

    The digest of the weights also covers the config and the generation settings, which may name the end tokens. The
    template has a digest of its own, whether it lies in its own file or in tokenizer_config.json.
    """
    weights = [f for f in sorted(folder.iterdir()) if f.suffix in WEIGHT_SUFFIXES or f.name in MODEL_FILES]
    return {
        "weights": digest({f.name: file_digest(f) for f in weights}),
        "tokenizer": digest({name: _tokenizer_part(folder / name) for name in TOKENIZER_FILES}),
        "template": digest(_template(folder)),
    }


def differences(left: Mapping[str, Any], right: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, left value, right value) of every leaf that differs; a value that is missing is None."""
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
