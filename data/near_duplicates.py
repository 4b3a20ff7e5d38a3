"""Cluster near-duplicates: prompts that must not stand on both sides of a split.

Two prompts are in one cluster when they have the same cluster key, or when the Jaccard similarity of their 3-grams is
at least the threshold. Clusters are the transitive closure of this relation.

Prefix filtering finds all such pairs ("A Primitive Operator for Similarity Joins in Data Cleaning", ICDE 2006). If the
grams of every text are sorted from the rarest to the most frequent, two texts that are similar enough share one of
their first few grams. Memory holds a few hundred bytes for each text; the grams lie in a temporary file.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from hasse.data.grams import gram_sets, tokens
from hasse.data.text import normalise

BATCH = 2048
"""How many texts have their grams computed together."""

COUNTERS = 2**22
"""The number of counters of grams. Grams that share one seem more frequent, which only costs time."""

MASK_BITS = 512
"""The length of a text's mask, whose bits stand for its grams."""

SLACK = 1e-9
"""A tolerance, so that rounding never leaves out a pair at the threshold."""


class Clusters:
    """Takes texts one at a time, then assigns each to a cluster."""

    def __init__(self, *, threshold: float, folder: Path | None = None):
        """folder: where the temporary file lies; the file has no name."""
        self.threshold, self.folder = threshold, folder
        self.parents: list[int] = []
        self.alone = bytearray()
        """1 for a text that is alone in its cluster so far."""
        self.first_of_key: dict[bytes, int] = {}
        self.first_of_text: dict[bytes, int] = {}
        self.waiting: list[tuple[int, list[str]]] = []
        self.grams: _Grams | None = None

    def add(self, text: str, key: str | None) -> None:
        """Add the next text, normalised, and its cluster key."""
        number = len(self.parents)
        self.parents.append(number)
        self.alone.append(True)
        if key is not None:
            self._unite(self.first_of_key.setdefault(_digest(key), number), number)
        first = self.first_of_text.setdefault(_digest(text), number)
        if first != number:
            self._unite(first, number)
        elif self.threshold < 1:
            self.waiting.append((number, tokens(text)))
            if len(self.waiting) == BATCH:
                self._flush()

    def roots(self) -> list[int]:
        """The number of the first text in each text's cluster. Texts that are added later never rename a cluster."""
        self._flush()
        if self.grams is not None:
            self._join(self.grams)
            self.grams.file.close()
            self.grams = None
        return [self._root(number) for number in range(len(self.parents))]

    def _flush(self) -> None:
        if self.waiting:
            self.grams = self.grams or _Grams(self.folder)
            self.grams.append([number for number, _ in self.waiting], [found for _, found in self.waiting])
            self.waiting = []

    def _join(self, grams: "_Grams") -> None:
        """Unite all pairs of texts whose similarity is at least the threshold."""
        index: dict[int, _Bucket] = {}
        for place, prefix in grams.prefixes(self.threshold):
            for gram in prefix:
                bucket = index.setdefault(gram, _Bucket())
                for other in grams.possibly_near(place, bucket.single, self.threshold):
                    self._compare(place, other, grams)
                for group in bucket.by_cluster.values():
                    self._compare_with_cluster(place, group, grams)
            for gram in prefix:
                self._put(place, index[gram], grams)

    def _compare_with_cluster(self, place: int, group: Sequence[int], grams: "_Grams") -> None:
        """Unite a text with a cluster if it is near to any of its texts."""
        if self._root(grams.numbers[group[0]]) != self._root(grams.numbers[place]):
            for other in grams.possibly_near(place, reversed(group), self.threshold):
                if self._compare(place, other, grams):
                    return

    def _compare(self, place: int, other: int, grams: "_Grams") -> bool:
        """Unite two texts if they are near; returns whether they are in one cluster."""
        number, earlier = grams.numbers[place], grams.numbers[other]
        if self._root(number) != self._root(earlier) and grams.similarity(place, other) >= self.threshold:
            self._unite(earlier, number)
        return self._root(number) == self._root(earlier)

    def _put(self, place: int, bucket: "_Bucket", grams: "_Grams") -> None:
        number = grams.numbers[place]
        if self.alone[number]:
            bucket.single.append(place)
        else:
            bucket.by_cluster.setdefault(self._root(number), []).append(place)

    def _unite(self, i: int, j: int) -> None:
        a, b = self._root(i), self._root(j)
        if a != b:
            self.parents[max(a, b)] = min(a, b)
            self.alone[i] = self.alone[j] = False

    def _root(self, i: int) -> int:
        parents = self.parents
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i


@dataclass(slots=True)
class _Bucket:
    """The texts whose prefix holds one gram. Texts that were alone when they were put here are in `single`."""

    single: list[int] = field(default_factory=list)
    by_cluster: dict[int, list[int]] = field(default_factory=dict)


def clusters(texts: Iterable[str], keys: Iterable[str | None], *, threshold: float) -> list[int]:
    """Give, for each text, the position of the first text in its cluster."""
    found = Clusters(threshold=threshold)
    for text, key in zip(texts, keys, strict=True):
        found.add(normalise(text), key)
    return found.roots()


class _Grams:
    """The sets of grams of all texts, in a file, with the size and a mask of each set."""

    def __init__(self, folder: Path | None):
        self.file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed when all pairs are found
        self.numbers: list[int] = []
        self.sizes: list[int] = []
        self.masks: list[int] = []
        self.starts: list[int] = [0]
        self.counts = np.zeros(COUNTERS, np.uint32)
        self.cached: tuple[int, frozenset[int]] = (-1, frozenset())

    def append(self, numbers: Sequence[int], texts: Sequence[list[str]]) -> None:
        grams_G, owners_G = gram_sets(texts)
        grams_G.tofile(self.file)
        np.add.at(self.counts, grams_G & np.uint64(COUNTERS - 1), 1)
        sizes = np.bincount(owners_G, minlength=len(texts)).tolist()
        self.numbers += numbers
        self.sizes += sizes
        self.masks += _masks(grams_G, owners_G, len(texts))
        for size in sizes:
            self.starts.append(self.starts[-1] + size)

    def prefixes(self, threshold: float) -> Iterator[tuple[int, list[int]]]:
        """(place, prefix) of each text. Any other text that is near enough shares a gram of the prefix."""
        self.file.flush()
        self.all_G = np.memmap(self.file, np.uint64, mode="r")
        for begin in range(0, len(self.numbers), BATCH):
            places = range(begin, min(begin + BATCH, len(self.numbers)))
            yield from zip(places, self._prefixes(places, threshold), strict=True)

    def possibly_near(self, place: int, others: Iterable[int], threshold: float) -> Iterator[int]:
        """The others, except those whose masks prove that their similarity is below the threshold.

        Two sets of n and m grams with similarity t differ in at most (n + m) (1 - t) / (1 + t) grams, and their masks
        differ in no more bits than the sets differ in grams.
        """
        masks, sizes, mask, size = self.masks, self.sizes, self.masks[place], self.sizes[place]
        share = (1 - threshold) / (1 + threshold)
        for other in others:
            if (masks[other] ^ mask).bit_count() <= (size + sizes[other]) * share + SLACK:
                yield other

    def similarity(self, place: int, other: int) -> float:
        """The Jaccard similarity of two texts' grams."""
        shared = len(self._set(place).intersection(self._grams_of(other)))
        return shared / (self.sizes[place] + self.sizes[other] - shared)

    def _set(self, place: int) -> frozenset[int]:
        if self.cached[0] != place:
            self.cached = (place, frozenset(self._grams_of(place)))
        return self.cached[1]

    def _grams_of(self, place: int) -> list[int]:
        return self.all_G[self.starts[place] : self.starts[place + 1]].tolist()

    def _prefixes(self, places: range, threshold: float) -> Iterator[list[int]]:
        """The prefix of each text. Grams that no other text has are left out, since they cannot be shared."""
        first, last = self.starts[places[0]], self.starts[places[-1] + 1]
        grams_G = np.asarray(self.all_G[first:last])
        counts_G = self.counts[grams_G & np.uint64(COUNTERS - 1)]
        owners_G = np.repeat(np.arange(len(places)), [self.sizes[place] for place in places])
        order_G = np.lexsort((grams_G, counts_G, owners_G))
        grams_G, counts_G = grams_G[order_G], counts_G[order_G]
        for place in places:
            begin, size = self.starts[place] - first, self.sizes[place]
            end = begin + size - ceil(threshold * size - SLACK) + 1
            yield grams_G[begin:end][counts_G[begin:end] > 1].tolist()


def _masks(grams_G: NDArray[np.uint64], owners_G: NDArray[np.int64], number: int) -> list[int]:
    bits = np.zeros((number, MASK_BITS), np.bool_)
    bits[owners_G, (grams_G >> np.uint64(32)) & np.uint64(MASK_BITS - 1)] = True
    return [int.from_bytes(row.tobytes()) for row in np.packbits(bits, axis=1)]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
