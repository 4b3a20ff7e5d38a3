"""Files on this machine: written whole or not at all, locked, and checked against their digests."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from data.errors import StoreError
from pipeline.fingerprint import file_digest
from pipeline.manifest import FileEntry

STAMPS = "stamps.json"
BEGUN = ".begun"
"""Ending of a file that is being written."""


def write_atomically(path: Path, text: str) -> None:
    """The whole text or, after a crash, the former file; never a part."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}{BEGUN}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def forget_begun(folder: Path) -> None:
    """Delete what a process that was killed had begun to write atomically below the folder."""
    for path in folder.rglob(f".*{BEGUN}"):
        path.unlink()


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn a full or failing disk into a StoreError that says what is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
            raise
        raise StoreError(
            f"the store {root} could not be written: {error.strerror}. Finished chunks and artifacts are kept; "
            "make room (`hasse prune` shows what can go) and run the same command again"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process of this machine at a time holds the lock file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def hold(path: Path) -> TextIO:
    """Locks a file for as long as what is given back is open: until it is closed, or its process is gone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def problem(folder: Path, name: str, entry: FileEntry, stamp: list[int] | None) -> str | None:
    """What is wrong with a file of an artifact. `stamp`: its size and modification time when it was last read."""
    path = folder / name
    if not path.exists():
        return f"{name} is missing"
    stat = path.stat()
    if stat.st_size != entry.num_bytes:
        return f"{name} has {stat.st_size} bytes instead of {entry.num_bytes}"
    if stamp != [stat.st_size, stat.st_mtime_ns] and file_digest(path) != entry.sha256:
        return f"{name} differs from its digest"
    return None


def stamps_of(folder: Path, files: Iterable[str]) -> dict[str, list[int]]:
    stats = {name: (folder / name).stat() for name in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def read_stamps(folder: Path) -> dict[str, list[int]]:
    try:
        return json.loads((folder / STAMPS).read_text())
    except (OSError, ValueError):
        return {}


def write_stamps(folder: Path, files: Iterable[str]) -> None:
    write_atomically(folder / STAMPS, json.dumps(stamps_of(folder, files)))


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
