"""The 3-grams of texts. The tokens are words or, in scripts without spaces between words, characters."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hasse.data.text import normalise

SIZE = 3

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese, Shan
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese
    "\u3040-\u30ff\u31f0-\u31ff\U0001aff0-\U0001b16f"  # Japanese
    "\u3105-\u312f\u31a0-\u31bf\ua000-\ua4cf"  # Bopomofo, Yi
)
_TOKEN = re.compile(f"[{_UNSPACED}]|[^{_UNSPACED}]+")
_PART = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")

_WEIGHTS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
"""Odd factors of the hashes of a gram's tokens. They differ, so that the order of the tokens matters."""
_PADDING = "\x1f"
"""A string that is no token of any normalised text."""


def tokens(text: str) -> list[str]:
    """The words of a normalised text; in scripts without spaces, its characters."""
    words = text.split()
    if text.isascii() or not _ANY_UNSPACED.search(text):
        return words
    return [token for word in words for token in _TOKEN.findall(word)]


def parts(text: str) -> list[str]:
    """The words of a text, each with the white space before it; in scripts without spaces, its characters."""
    return _PART.findall(text)


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """The 3-grams of a text. All tokens of a text with fewer than three make one gram."""
    found = tokens(normalise(text))
    return frozenset(tuple(found[i : i + SIZE]) for i in range(max(1, len(found) - SIZE + 1)))


def jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b)


def gram_sets(texts: Sequence[list[str]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes of the distinct 3-grams of each text, and for each hash the number of its text. [G], [G]

    Both are sorted by text. Hashes have 64 bits and differ from process to process.
    """
    padded = [found if len(found) >= SIZE else [*found, *[_PADDING] * (SIZE - len(found))] for found in texts]
    lengths = [len(found) for found in padded]
    hashes_W = np.array([hash(token) for found in padded for token in found], np.int64).astype(np.uint64)
    owners_W = np.repeat(np.arange(len(padded)), lengths)
    whole = owners_W[: 1 - SIZE] == owners_W[SIZE - 1 :]
    windows = np.lib.stride_tricks.sliding_window_view(hashes_W, SIZE)[whole]
    grams_G, owners_G = _mix_bits((windows * _WEIGHTS).sum(axis=1, dtype=np.uint64)), owners_W[: 1 - SIZE][whole]
    order_G = np.lexsort((grams_G, owners_G))
    grams_G, owners_G = grams_G[order_G], owners_G[order_G]
    new_G = np.ones(len(grams_G), np.bool_)
    new_G[1:] = (grams_G[1:] != grams_G[:-1]) | (owners_G[1:] != owners_G[:-1])
    return grams_G[new_G], owners_G[new_G]


def _mix_bits(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix each value, so that every bit of the result depends on every bit of the value."""
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))
