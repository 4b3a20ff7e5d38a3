"""Pairwise verdicts of one or several judges, turned into the edges of a partial order.

A pair that nobody judged stays incomparable. The balance of a judged pair is

    (weight of the verdicts for a - weight of the verdicts for b) / weight of all verdicts that do not abstain   -1 to 1

and a is above b if the balance exceeds an indifference band. The balances of different pairs can contradict each other.
Such a cycle is either refused, or broken by dropping its weakest pair.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hasse.data.errors import InputError
from hasse.stages.order.partial_order import Edge


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedVerdict:
    """One judge's verdict on the candidates `a` and `b`. better: the id of the better one, or None for a tie."""

    a: str
    b: str
    better: str | None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """All verdicts on one pair. balance: from -1, all for the second, to 1, all for the first; weight: their sum."""

    balance: float
    weight: float


def from_ranking(ranking: Sequence[Sequence[str]], *, weight: float = 1.0) -> list[WeightedVerdict]:
    """One verdict for each pair of a ranking, which runs from best to worst and holds tied candidates together."""
    decided = [
        WeightedVerdict(a=a, b=b, better=a, weight=weight)
        for i, tied in enumerate(ranking)
        for a in tied
        for lower in ranking[i + 1 :]
        for b in lower
    ]
    ties = [WeightedVerdict(a=a, b=b, better=None, weight=weight) for tied in ranking for a, b in combinations(tied, 2)]
    return decided + ties


def tally(verdicts: Iterable[WeightedVerdict]) -> dict[Edge, Tally]:
    """(first, second) in alphabetical order -> their tally."""
    balance: defaultdict[Edge, float] = defaultdict(float)
    weight: defaultdict[Edge, float] = defaultdict(float)
    for v in verdicts:
        pair = (min(v.a, v.b), max(v.a, v.b))
        sign = 0 if v.better is None else 1 if v.better == pair[0] else -1
        balance[pair] += sign * v.weight
        weight[pair] += v.weight
    return {
        pair: Tally(balance=balance[pair] / weight[pair], weight=weight[pair]) for pair in weight if weight[pair] > 0
    }


def majority(tallies: Mapping[Edge, Tally], *, band: float = 0.0) -> dict[Edge, float]:
    """(above, below) -> strength of every pair whose balance exceeds the band: the balance times the weight."""
    strength = {}
    for (a, b), t in tallies.items():
        if abs(t.balance) > band:
            strength[(a, b) if t.balance > 0 else (b, a)] = abs(t.balance) * t.weight
    return strength


def break_cycles(strength: Mapping[Edge, float]) -> tuple[set[Edge], list[Edge]]:
    """(edges without a cycle, dropped edges): each cycle loses its weakest edge, the first by name among equals."""
    kept, dropped = set(strength), []
    while (cycle := find_cycle(kept)) is not None:
        weakest = min(cycle, key=lambda edge: (strength[edge], edge))
        kept.discard(weakest)
        dropped.append(weakest)
    return kept, dropped


def find_cycle(edges: Iterable[Edge]) -> list[Edge] | None:
    """A shortest cycle through the first node, by name, that lies on a cycle; None without a cycle."""
    below: dict[str, list[str]] = {}
    for a, b in sorted(edges):
        below.setdefault(a, []).append(b)
    for start in below:
        came_from: dict[str, str] = {}
        frontier = [start]
        while frontier and start not in came_from:
            node = frontier.pop(0)
            for b in below.get(node, ()):
                if b not in came_from:
                    came_from[b] = node
                    frontier.append(b)
        if start in came_from:
            path = [start]
            while len(path) == 1 or path[-1] != start:
                path.append(came_from[path[-1]])
            return [(path[i + 1], path[i]) for i in range(len(path) - 1)]
    return None


def refuse_cycles(edges: Iterable[Edge], *, where: str) -> set[Edge]:
    """The edges as a set. Raises InputError that names a cycle among them; `where` begins its message."""
    kept = set(edges)
    cycle = find_cycle(kept)
    if cycle:
        names = " > ".join([cycle[-1][0], *(b for _, b in reversed(cycle))])
        raise InputError(f"{where}: the verdicts contain the cycle {names}; remove one, or set cycles: break")
    return kept


def bradley_terry(tallies: Mapping[Edge, Tally], *, prior: float = 1.0, steps: int = 100) -> dict[str, float]:
    """Bradley-Terry strengths: candidate -> log strength, mean 0, with P(a beats b) = sigma(strength_a - strength_b).

    A tie counts as half a win for each candidate. `prior` is the weight of two imagined ties of every candidate with a
    candidate of strength 0; they keep the strength of a candidate that always wins finite. The likelihood is concave
    and maximised by Newton's method.
    """
    names = sorted({name for pair in tallies for name in pair})
    place = {name: i for i, name in enumerate(names)}
    strength = np.zeros(len(names))
    for _ in range(steps):
        share = 1 / (1 + np.exp(-strength))
        gradient, curvature = prior * (1 - 2 * share), np.diag(2 * prior * share * (1 - share))
        for (a, b), t in tallies.items():
            i, j = place[a], place[b]
            p = 1 / (1 + np.exp(strength[j] - strength[i]))
            pull, bend = t.weight * ((1 + t.balance) / 2 - p), t.weight * p * (1 - p)
            gradient[[i, j]] += [pull, -pull]
            curvature[np.ix_([i, j], [i, j])] += [[bend, -bend], [-bend, bend]]
        change = np.linalg.solve(curvature, gradient)
        strength += np.clip(change, -2, 2)
        if np.abs(change).max() < 1e-10:
            break
    return dict(zip(names, (strength - strength.mean()).tolist(), strict=True))
