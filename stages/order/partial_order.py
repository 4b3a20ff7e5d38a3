"""Partial orders over the candidates of one prompt: how to make an order, and which of its pairs to draw.

An order is made from levels (`from_levels`) or from explicit pairs (`from_pairs`). Candidates that no pair joins are
incomparable: the order says nothing of which is better.

    order = from_levels("p1", {"ann": 3, "bob": 2, "cid": 2, "dan": None})
    hasse_edges(order)      # [("ann", "bob"), ("ann", "cid")]; bob and cid tie, and dan has no level
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from hasse.data.errors import InputError
from hasse.data.records import OrderedPair, PartialOrder

Edge = tuple[str, str]
"""(candidate_id of the better answer, candidate_id of the worse one)"""


def from_levels(
    prompt_id: str,
    levels: Mapping[str, float | None],
    *,
    band: float = 0.0,
    humans: Collection[str] = (),
    good: float = -math.inf,
    strategy: str = "levels",
) -> PartialOrder:
    """The order in which a candidate is above another when its level is higher by more than `band`.

    levels: candidate_id -> level, higher is better. A candidate without a level (None) is incomparable with all others.
    The target is the candidate with the highest level, if that level is at least `good`. `humans` are the ids of the
    answers that an expert wrote: such an answer comes first among ties, and without a level it is always the target.
    """
    pairs = tuple(
        OrderedPair(above=a, below=b)
        for a, level in levels.items()
        for b, lower in levels.items()
        if level is not None and lower is not None and level - lower > band
    )
    return PartialOrder(
        prompt_id=prompt_id,
        strategy=strategy,
        candidate_ids=tuple(levels),
        levels=tuple(levels.values()),
        pairs=pairs,
        target=_target(levels, humans, good),
    )


def from_pairs(
    prompt_id: str,
    candidate_ids: Sequence[str],
    pairs: Iterable[OrderedPair | Edge],
    *,
    implied: bool = True,
    humans: Collection[str] = (),
    dropped: Iterable[Edge] = (),
    strategy: str = "pairs",
) -> PartialOrder:
    """The order of explicit pairs, (better, worse), and, if `implied`, of the pairs that follow from them.

    Pairs that follow have margin 0. The target is a candidate that is above another and below none; an answer in
    `humans`, those that an expert wrote, comes first. dropped: pairs that were given up, which the order only records.
    Raises InputError for a pair with an unknown candidate, and for pairs that contradict each other: the error names
    the cycle.
    """
    where = f"prompt {prompt_id}"
    given = {(p.above, p.below): p for p in (p if isinstance(p, OrderedPair) else _pair(p) for p in pairs)}
    unknown = sorted({name for edge in given for name in edge} - set(candidate_ids))
    if unknown:
        raise InputError(f"{where}: a pair names {unknown[0]!r}; the candidates are {', '.join(candidate_ids)}")
    closed = transitive_closure(given, where=where)
    tops = {a for a, _ in closed} - {b for _, b in closed}
    return PartialOrder(
        prompt_id=prompt_id,
        strategy=strategy,
        candidate_ids=tuple(candidate_ids),
        levels=(None,) * len(candidate_ids),
        pairs=tuple(given.get(edge) or _pair(edge) for edge in sorted(closed if implied else given)),
        target=next(iter(_humans_first([name for name in candidate_ids if name in tops], humans)), None),
        dropped=tuple(map(_pair, sorted(dropped))),
    )


def hasse_edges(order: PartialOrder) -> list[Edge]:
    """The lines of the order's Hasse diagram: the pairs, (better, worse), that do not follow from other pairs."""
    return sorted(transitive_reduction((pair.above, pair.below) for pair in order.pairs))


def transitive_reduction(edges: Iterable[Edge]) -> set[Edge]:
    """The edges that do not follow from other edges. Raises InputError for edges that contain a cycle."""
    given = set(edges)
    closed = transitive_closure(given, where="transitive reduction")
    below: dict[str, set[str]] = {}
    for a, b in closed:
        below.setdefault(a, set()).add(b)
    return {(a, b) for a, b in given if not any(b in below.get(between, ()) for between in below[a])}


def transitive_closure(edges: Iterable[Edge], *, where: str) -> set[Edge]:
    """The edges and all that follow from them. Raises InputError that names a cycle; `where` begins its message."""
    direct: dict[str, set[str]] = {}
    for a, b in edges:
        direct.setdefault(a, set()).add(b)
    closed: set[Edge] = set()
    for start in direct:
        came_from: dict[str, str] = {}
        open_nodes = [start]
        while open_nodes:
            node = open_nodes.pop()
            for b in sorted(direct.get(node, ())):
                if b not in came_from:
                    came_from[b] = node
                    open_nodes.append(b)
        if start in came_from:
            raise InputError(f"{where}: the pairs contain the cycle {_cycle(start, came_from)}; remove one of them")
        closed |= {(start, b) for b in came_from}
    return closed


def _pair(edge: Edge) -> OrderedPair:
    return OrderedPair(above=edge[0], below=edge[1])


def _target(levels: Mapping[str, float | None], humans: Collection[str], good: float) -> str | None:
    without_level = [name for name, level in levels.items() if level is None and name in humans]
    if without_level:
        return without_level[0]
    highest = max((level for level in levels.values() if level is not None), default=None)
    if highest is None or highest < good:
        return None
    return _humans_first([name for name, level in levels.items() if level == highest], humans)[0]


def _humans_first(names: Sequence[str], humans: Collection[str]) -> list[str]:
    return sorted(names, key=lambda name: name not in humans)


def _cycle(start: str, came_from: dict[str, str]) -> str:
    path, node = [start], came_from[start]
    while node != start:
        path.append(node)
        node = came_from[node]
    return " > ".join([start, *reversed(path)])
