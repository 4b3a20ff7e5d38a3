"""Read the lines of UTF-8 text files, which may be compressed. Errors name the line that is not UTF-8."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from hasse.data.errors import SourceError

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes that may follow the suffix of a text file. The first bytes of the file decide how it is read."""

_ZSTD = b"\x28\xb5\x2f\xfd"
_BEGINNINGS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_BZIP2_BLOCK = b"1AY&SY"
_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""The errors of reading a file that is missing, truncated or damaged."""


def lines(path: Path) -> Iterator[str]:
    """The lines with their line breaks, without a byte order mark. Raises SourceError and READ_ERRORS."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            yield from _split(_decoded(line.removeprefix(_UTF8_BOM) if number == 1 else line, path, number))


def read_text(path: Path) -> str:
    """The whole text of a file. Raises SourceError and READ_ERRORS."""
    return "".join(lines(path))


def utf8_problem(text: str) -> str | None:
    """Why a text cannot be stored as UTF-8; None if it can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        return f"holds half of a character ({half} at character {error.start + 1}), which UTF-8 cannot hold"
    return None


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        beginning = file.read(10)
    if beginning.startswith(_ZSTD):
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, pa.input_stream(str(path), compression="zstd"))))
    for start, opener in _BEGINNINGS.items():
        if beginning.startswith(start) and (start != b"BZh" or beginning[4:10] == _BZIP2_BLOCK):
            return cast(BinaryIO, opener(path, "rb"))
    if beginning[:2] in _OTHER_BOMS or b"\0" in beginning[:4]:
        raise SourceError("begins like UTF-16 or UTF-32; only UTF-8 is read, so save the file as UTF-8", file=path)
    return path.open("rb")


def _decoded(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8"
        raise SourceError(problem, file=path, row=number) from error


def _split(line: str) -> Iterator[str]:
    """Split a line at carriage returns, which also end lines."""
    return io.StringIO(line, newline="") if "\r" in line else iter((line,))
