"""Near-duplicates: prompts that must not stand on both sides of a split.

Two prompts are in one cluster when they have the same cluster key, or when the Jaccard similarity of their word
3-grams is at least the threshold; and so on transitively. Candidates come from MinHash, each is verified exactly.
"""

from collections.abc import Iterator, Sequence

from data.text import normalise

NUM_PERMUTATIONS = 128

EARLIER = 0.8
"""The index looks this much below the threshold, since it finds what lies at its own threshold only now and then."""


def clusters(texts: Sequence[str], keys: Sequence[str | None], *, threshold: float) -> list[int]:
    """For each text the position of the first member of its cluster: rows added later never rename a cluster."""
    parents = list(range(len(texts)))
    first_of_key: dict[str, int] = {}
    for i, key in enumerate(keys):
        if key is not None:
            _unite(parents, first_of_key.setdefault(key, i), i)
    for i, j in near_duplicates(texts, threshold=threshold):
        _unite(parents, i, j)
    return [_root(parents, i) for i in range(len(texts))]


def shingles(text: str) -> frozenset[str]:
    """The word 3-grams; of a text with fewer than three words, the text itself."""
    words = normalise(text).split()
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2)) or frozenset([" ".join(words)])


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def near_duplicates(texts: Sequence[str], *, threshold: float) -> list[tuple[int, int]]:
    """Pairs (i < j) at or above the threshold; of equal texts only the first stands for them all."""
    pairs, unique = _equal(texts)
    if threshold < 1:
        sets = [shingles(texts[i]) for i in unique]
        pairs += [
            (unique[i], unique[j]) for i, j in _candidates(sets, threshold) if jaccard(sets[i], sets[j]) >= threshold
        ]
    return pairs


def _equal(texts: Sequence[str]) -> tuple[list[tuple[int, int]], list[int]]:
    first: dict[str, int] = {}
    pairs = []
    for i, text in enumerate(texts):
        j = first.setdefault(normalise(text), i)
        if j != i:
            pairs.append((j, i))
    return pairs, list(first.values())


def _candidates(sets: list[frozenset[str]], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of positions whose MinHash signatures collide."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold * EARLIER, num_perm=NUM_PERMUTATIONS, weights=(0.1, 0.9))
    encoded = ([shingle.encode() for shingle in members] for members in sets)
    for i, signature in enumerate(MinHash.generator(encoded, num_perm=NUM_PERMUTATIONS)):
        yield from ((int(str(j)), i) for j in index.query(signature))
        index.insert(i, signature, check_duplication=False)


def _unite(parents: list[int], i: int, j: int) -> None:
    a, b = _root(parents, i), _root(parents, j)
    parents[max(a, b)] = min(a, b)


def _root(parents: list[int], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i
