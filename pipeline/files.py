"""Files on this machine: written whole or not at all, locked, and checked against their digests."""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from hasse.data.errors import CorruptFile, StoreError
from hasse.pipeline.fingerprint import file_digest
from hasse.pipeline.manifest import FileEntry
from hasse.pipeline.sealed import read_json

STAMPS = "stamps.json"
BEGUN = ".begun"
"""Ending of a file that is being written."""

CORRUPT = ".corrupt"
"""Ending of what was found damaged and has been set aside."""

Stamp = list[int]
"""Size, modification time, time of the last change of any kind, and number of a file."""


def write_atomically(path: Path, text: str) -> None:
    """The whole text or, after a crash or on a full disk, the former file; never a part."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}{BEGUN}")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir():
            set_aside(path)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def forget_begun(folder: Path) -> None:
    """Delete what a process that was killed had begun to write atomically below the folder."""
    for path in folder.rglob(f".*{BEGUN}"):
        path.unlink()


def set_aside(path: Path) -> Path:
    """Rename what is damaged, so that it is in nobody's way and can still be looked at; gives its new path."""
    for number in itertools.count():
        beside = path.with_name(f"{path.name}{f'-{number}' if number else ''}{CORRUPT}")
        if not beside.exists() and not beside.is_symlink():
            break
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        path.rename(beside)
    return beside


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with all that is in it; what is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=False)
    else:
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Raises StoreError where a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"{error.filename} is a file, where a folder of the store belongs; move it away") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process of this machine at a time holds the lock file."""
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def shared(path: Path) -> Iterator[None]:
    """Several processes may hold the lock file so at once, while none holds it by `locked`."""
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """As `locked`, without waiting: gives whether the lock was free."""
    with _lock_file(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def hold(path: Path) -> TextIO:
    """Locks a file for as long as what is given back is open: until it is closed, or its process is gone."""
    make_folder(path.parent)
    file = _lock_file(path)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file is there that somebody could hold
        return False
    return False


def _lock_file(path: Path) -> TextIO:
    make_folder(path.parent)
    if path.is_dir():
        set_aside(path)
    return path.open("w")


def problem(
    folder: Path, name: str, entry: FileEntry, *, trusted: Stamp | None = None, again: bool = False
) -> str | None:
    """What is wrong with a file of an artifact.

    trusted: the stamp with which it was found good earlier. A file that has another is read, once a process; with
    `again`, every time.
    """
    path = folder / name
    try:
        now = stamp_of(path)
        if now is None:
            return f"{name} is no file"
        if now[0] != entry.num_bytes:
            return f"{name} has {now[0]} bytes instead of {entry.num_bytes}"
        if not again and now == trusted:
            return None
        return None if digest_once(path, again=again) == entry.sha256 else f"{name} differs from its digest"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror or error}"


def stamp_of(path: Path | str) -> Stamp | None:
    """Changes with every change of the file, also with one that puts size and modification time back. None: no file."""
    found = os.stat(path)  # noqa: PTH116  thousands of paths are not made objects
    if not stat.S_ISREG(found.st_mode):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


_DIGESTS: dict[tuple[int, ...], str] = {}
"""Of the files that this process has read: device and stamp -> sha256."""


def digest_once(path: Path, *, again: bool = False) -> str:
    """sha256 of a file, which one process reads for this once as long as nothing changes it. Raises OSError."""
    key = (path.stat().st_dev, *(stamp_of(path) or []))
    if again or key not in _DIGESTS:
        _DIGESTS[key] = file_digest(path)
    return _DIGESTS[key]


def stamps_of(folder: Path, files: Iterable[str]) -> dict[str, Stamp]:
    found = {name: stamp_of(folder / name) for name in files}
    return {name: stamp for name, stamp in found.items() if stamp is not None}


def read_stamps(folder: Path) -> dict[str, Stamp]:
    """Without any where they cannot be read: they only spare reading."""
    try:
        found = read_json(folder / STAMPS, kind="file of stamps")
    except CorruptFile:
        return {}
    return found if isinstance(found, dict) else {}


def write_stamps(folder: Path, files: Iterable[str]) -> None:
    write_atomically(folder / STAMPS, json.dumps(stamps_of(folder, files)))


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
