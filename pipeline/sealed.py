"""JSON files of the store that hold their own digest, so that truncation, bit flips and edits are found.

A file of an earlier format has no digest. It is still read, and only its form is checked.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from hasse.data.errors import CorruptFile

Json = dict[str, Any]

DIGEST, FORMAT = "digest", "format"
SEALED_SINCE = 2
"""The format since which files must have a digest."""


def seal(values: Json) -> str:
    """The text of a file with these values, its format and its digest."""
    plain = json.loads(json.dumps({**values, FORMAT: SEALED_SINCE}))
    return json.dumps({**plain, DIGEST: _digest(plain)}, indent=1)


def read_sealed(path: Path, *, kind: str) -> Json:
    """The values of a sealed file, without the digest. kind: the word for the file in errors, e.g. "manifest".

    Raises CorruptFile when the file cannot be read, is no JSON object, or differs from its digest.
    """
    values = read_json(path, kind=kind)
    if not isinstance(values, dict):
        raise _broken(path, kind, f"it holds {_name(values)} instead of a JSON object")
    found, version = values.pop(DIGEST, None), values.get(FORMAT, 1)
    if not isinstance(version, int) or version > SEALED_SINCE:
        raise _broken(path, kind, f"its format is {version!r}, and this version of hasse reads up to {SEALED_SINCE}")
    if found is None and version < SEALED_SINCE:
        return values
    if found != _digest(values):
        raise _broken(path, kind, "it differs from the digest in it, so somebody or something has changed it")
    return values


def read_json(path: Path, *, kind: str) -> Any:
    """The value of a JSON file. Raises CorruptFile if the file is missing or cannot be read as JSON."""
    try:
        if path.exists() and not path.is_file():
            raise _broken(path, kind, "it is a folder or a device instead of a file")
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise _broken(path, kind, "it is nested too deeply") from error
    except OSError as error:
        raise _broken(path, kind, f"it cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise _broken(path, kind, str(error)) from error


def _broken(path: Path, kind: str, reason: str) -> CorruptFile:
    return CorruptFile(f"{path} is not a {kind}: {reason}")


def _digest(values: Json) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _name(value: object) -> str:
    return {list: "a list", str: "a text", type(None): "null"}.get(type(value), f"a {type(value).__name__}")
