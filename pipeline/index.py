"""Keep summaries of many small files in one index, so that listing thousands of files does not read each.

An entry of the index counts only while the stamp of its file (size, times and inode number) is unchanged; other files
are read. An index that is missing, damaged or of another version is written anew. Several processes may use one index,
since it is replaced as a whole.
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
VERSION = 2

BROKEN = "broken"
"""The key, in a summary, of the reason why the file cannot be read. Such a file is read every time."""

SETTLED_NS = 2 * 10**9
"""A file that changed this recently may change again within one tick of the file system's clock, so it is not kept."""


def summaries(index: Path, files: Mapping[str, str], summarise: Callable[[Path], Summary]) -> dict[str, Summary]:
    """Name -> summary of each file. files: name -> path. `summarise` may raise CorruptFile."""
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
    except (OSError, ValueError):  # an unusable index is written anew
        return {}


def _write(index: Path, entries: Mapping[str, tuple[Stamp, Summary]]) -> None:
    text = json.dumps(entries)
    with contextlib.suppress(OSError):  # without a current index, listing only takes longer
        make_folder(index.parent)
        write_atomically(index, f"{_head(text)}\n{text}")


def _head(text: str) -> str:
    return f"{VERSION} {hashlib.sha256(text.encode()).hexdigest()}"
