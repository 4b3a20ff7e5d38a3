"""Which evaluation items were seen in training, by the n-grams of words that they share.

Words are what white space separates after `hasse.data.text.normalise`; punctuation stays with its word.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hasse.data.text import normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What an evaluation item shares with the training texts."""

    evaluation_id: str
    training_id: str
    """Of the first training text, in the order given, that shares an n-gram with the item."""
    gram: str
    """The first shared n-gram in that text, normalised."""
    share: float
    """How many of the item's n-grams, by position, occur in any training text; above 0, at most 1."""


def contaminated(
    training: Iterable[tuple[str, str]], evaluation: Iterable[tuple[str, str]], *, n: int = 13
) -> list[Overlap]:
    """One Overlap for each evaluation item with a hit, in the order of the evaluation items.

    training, evaluation: (id, text); the training texts are streamed once. An item of fewer than n words is one gram,
    all its words in a row; one without words has no hit. N-grams are compared by 64-bit hashes. Raises ValueError for
    n below 1.
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
"""(rank in the order of finding, id of the training text, gram)"""


def _first_hits(training: Iterable[tuple[str, str]], wanted: set[int], sizes: Sequence[int]) -> dict[int, Hit]:
    """The first hit of each wanted hash that has one."""
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
