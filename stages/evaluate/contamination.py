"""Find the evaluation items that were seen in training, by shared n-grams of words.

Words are separated by white space after `hasse.data.text.normalise`. Punctuation belongs to its word.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hasse.data.text import normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The text that an evaluation item shares with the training texts."""

    evaluation_id: str
    training_id: str
    """The first training text, in the given order, that shares an n-gram with the item."""
    gram: str
    """The first shared n-gram in that text, normalised."""
    share: float
    """The share of the item's n-grams, by position, that occur in any training text; above 0, at most 1."""


def contaminated(
    training: Iterable[tuple[str, str]], evaluation: Iterable[tuple[str, str]], *, n: int = 13
) -> list[Overlap]:
    """One Overlap for each evaluation item that shares an n-gram with a training text, in the order of the items.

    training, evaluation: (id, text); the training texts are read once. An item of fewer than n words has one n-gram, of
    all its words; an item without words has none. N-grams are compared by 64-bit hashes. Raises ValueError for n below
    1.
    """
    if n < 1:
        raise ValueError(f"n is {n}; an n-gram has at least one word")
    hashes: list[tuple[str, array[int]]] = []
    sizes: set[int] = set()
    for evaluation_id, text in evaluation:
        words = normalise(text).split()
        size = min(n, len(words))
        hashes.append((evaluation_id, array("q", (hash(gram) for gram in _grams(words, size)))))
        sizes.add(size)
    first = _first_hits(training, {h for _, own in hashes for h in own}, sorted(sizes))
    return [_overlap(evaluation_id, own, first) for evaluation_id, own in hashes if any(h in first for h in own)]


Hit = tuple[int, str, str]
"""(position in the order of discovery, id of the training text, n-gram)"""


def _first_hits(training: Iterable[tuple[str, str]], wanted: set[int], sizes: Sequence[int]) -> dict[int, Hit]:
    """Hash -> its first hit, for each wanted hash that occurs in a training text."""
    found: dict[int, Hit] = {}
    for training_id, text in training:
        words = normalise(text).split()
        for size in sizes:
            for gram in _grams(words, size):
                key = hash(gram)
                if key in wanted and key not in found:
                    found[key] = (len(found), training_id, " ".join(gram))
    return found


def _overlap(evaluation_id: str, own: Sequence[int], first: dict[int, Hit]) -> Overlap:
    hits = [first[h] for h in own if h in first]
    _, training_id, gram = min(hits)
    return Overlap(evaluation_id=evaluation_id, training_id=training_id, gram=gram, share=len(hits) / len(own))


def _grams(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    if size:
        for start in range(len(words) - size + 1):
            yield tuple(words[start : start + size])
