"""Summaries of many small files in one file, so that listing thousands of them does not read each.

An index is never the truth: an entry counts only while the stamp of its file (size, times and number) is what it was,
every other file is read, and an index that is missing, damaged or of another version is written anew. Two processes may
use one index at once, since it is replaced as a whole.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hasse.data.errors import CorruptFile
from hasse.pipeline.files import Stamp, make_folder, stamp_of, write_atomically

Summary = dict[str, Any]

FOLDER = ".index"
VERSION = 1

BROKEN = "broken"
"""Key of a summary that says why a file cannot be read. Such a file is read again each time."""

SETTLED_NS = 2 * 10**9
"""A file that changed less than this before it was read may change again within one tick of the file system's clock."""


def summaries(index: Path, files: Mapping[str, str], summarise: Callable[[Path], Summary]) -> dict[str, Summary]:
    """Name -> summary of each of `files` (name -> path), in their order. `summarise` raises CorruptFile."""
    known = _read(index)
    settled = time.time_ns() - SETTLED_NS
    found: dict[str, Summary] = {}
    kept: dict[str, tuple[Stamp, Summary]] = {}
    for name, path in files.items():
        stamp = _stamp(path)
        entry = known.get(name)
        found[name] = entry[1] if entry and entry[0] == stamp else _summary(path, summarise)
        if stamp is not None and max(stamp[1:3]) < settled and BROKEN not in found[name]:
            kept[name] = (stamp, found[name])
    if kept.keys() != known.keys() or any(known[name][0] != kept[name][0] for name in kept):
        _write(index, kept)
    return found


def _stamp(path: str) -> Stamp | None:
    try:
        return stamp_of(path)
    except OSError:
        return None


def _summary(path: str, summarise: Callable[[Path], Summary]) -> Summary:
    try:
        return summarise(Path(path))
    except CorruptFile as error:
        return {BROKEN: str(error)}


def _read(index: Path) -> dict[str, tuple[Stamp, Summary]]:
    try:
        head, _, text = index.read_text().partition("\n")
        return json.loads(text) if head == _head(text) else {}
    except (OSError, ValueError):  # an index that cannot be used is written anew
        return {}


def _write(index: Path, entries: Mapping[str, tuple[Stamp, Summary]]) -> None:
    text = json.dumps(entries)
    with contextlib.suppress(OSError):  # without an index, or with an old one, listing only takes longer
        make_folder(index.parent)
        write_atomically(index, f"{_head(text)}\n{text}")


def _head(text: str) -> str:
    return f"{VERSION} {hashlib.sha256(text.encode()).hexdigest()}"
