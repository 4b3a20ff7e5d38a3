"""Write files as a whole or not at all, lock them, and check them against their digests."""

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
"""The ending of a file that is being written."""

CORRUPT = ".corrupt"
"""The ending of a damaged file that was set aside."""

Stamp = list[int]
"""The size, modification time, change time (of content or metadata) and inode number of a file."""


def write_atomically(path: Path, text: str) -> None:
    """Write the whole text. After a crash, or on a full disk, the former file is still there."""
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
    """Delete the unfinished files that killed processes left below the folder."""
    for path in folder.rglob(f".*{BEGUN}"):
        path.unlink()


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it can still be inspected; returns its new path."""
    for number in itertools.count():
        beside = path.with_name(f"{path.name}{f'-{number}' if number else ''}{CORRUPT}")
        if not beside.exists() and not beside.is_symlink():
            break
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        path.rename(beside)
    return beside


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with its content. A path that does not exist is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=False)
    else:
        path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises StoreError if a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"{error.filename} is a file, where a folder of the store belongs; move it away") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file, which only one process of this machine can at a time."""
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked_shared(path: Path) -> Iterator[None]:
    """Hold the lock file together with other processes that share it, while none holds it by `locked`."""
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file if it is free; yields whether it was."""
    with _lock_file(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def hold_lock(path: Path) -> TextIO:
    """Lock a file until the returned file is closed or the process ends."""
    make_folder(path.parent)
    file = _lock_file(path)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock file."""
    if not path.is_file():
        return False
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it has just been deleted
        return False
    return False


def _lock_file(path: Path) -> TextIO:
    make_folder(path.parent)
    if path.exists() and not path.is_file():  # a folder, or a pipe, whose opening would never end
        set_aside(path)
    return path.open("w")


def file_problem(
    folder: Path, name: str, entry: FileEntry, *, trusted: Stamp | None = None, again: bool = False
) -> str | None:
    """Describe what is wrong with a file of an artifact; None for a good file.

    trusted: the stamp that the file had when it was last found good. A file with another stamp is read, once in a
    process or, with `again`, every time.
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
    """The file's stamp, which every change alters, even one that restores size and modification time; None: no file."""
    found = os.stat(path)  # noqa: PTH116  thousands of paths are not made objects
    if not stat.S_ISREG(found.st_mode):
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


_DIGESTS: dict[tuple[int, ...], str] = {}
"""Device and stamp -> sha256 of the files that this process has read."""


def digest_once(path: Path, *, again: bool = False) -> str:
    """The sha256 of a file, which a process reads again only if the file has changed. Raises OSError."""
    key = (path.stat().st_dev, *(stamp_of(path) or []))
    if again or key not in _DIGESTS:
        _DIGESTS[key] = file_digest(path)
    return _DIGESTS[key]


def stamps_of(folder: Path, files: Iterable[str]) -> dict[str, Stamp]:
    found = {name: stamp_of(folder / name) for name in files}
    return {name: stamp for name, stamp in found.items() if stamp is not None}


def read_stamps(folder: Path) -> dict[str, Stamp]:
    """The stamps kept in a folder; none if they cannot be read, since they only save reading."""
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
