"""Recognise a full or failing disk among errors, and tell the user."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from hasse.data.errors import HasseError, StoreError

FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_ERRORS = (*FULL, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)

LIBRARY_MESSAGES = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "os error 28",
    "database or disk is full",
    "disk I/O error",
    "PytorchStreamWriter failed writing",
)
"""The messages of a full disk in errors of safetensors, tokenizers, sqlite and torch."""


def disk_problem(error: BaseException) -> str | None:
    """The disk's problem, if this error or a cause of it means that the disk is full or cannot be written."""
    if isinstance(error, HasseError):
        return None
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        name = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}"
    message = next((words for words in LIBRARY_MESSAGES if words in str(error)), None)
    if message:
        return "No space left on device" if message.startswith(("os error", "Pytorch")) else message
    earlier = error.__cause__ or error.__context__
    return disk_problem(earlier) if earlier else None


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn the errors of a full or failing disk into a StoreError that says what is kept."""
    try:
        yield
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        raise StoreError(disk_message(f"the store {root}", problem)) from error


def disk_message(place: str, problem: str) -> str:
    return (
        f"{place} could not be written: {problem}. Finished chunks and artifacts are kept; make room "
        "(`hasse prune` shows what can go) and run the same command again"
    )
