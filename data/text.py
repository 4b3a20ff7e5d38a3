"""Normalise and hash texts, for ids, for near-duplicates and for grading."""

import hashlib
import re
import string
import unicodedata
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """The text in Unicode NFKC, case folded, with one space for every run of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space, control characters and characters of no width alone."""
    return all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text)


@lru_cache(maxsize=1024)
def normalise_answer(text: str) -> str:
    """The text as SQuAD's official metric compares it: lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def short_digest(*parts: str) -> str:
    """The first 16 hex digits of the sha256 of some strings."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def unit_hash(*parts: object) -> float:
    """A number in [0, 1) that depends on these values alone."""
    return int(hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:13], 16) / 16**13
