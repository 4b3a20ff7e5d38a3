"""Partial orders over the candidates of one prompt: from levels, or from explicit pairs.

Level i is above level j iff it is strictly greater; equal levels are incomparable; None abstains and is incomparable
with everything. Every transitive pair is part of the order.
"""

from collections.abc import Iterable, Sequence

from hasse.data.errors import InputError
from hasse.data.records import Candidate, Judgement, OrderedPair, PartialOrder
from hasse.data.settings import Config, unkeyed


class StrategySettings(Config):
    """What every ordering strategy has."""

    chunk_size: int = unkeyed(5000, ge=1, description="Prompts between two commits to the store.")


Judged = tuple[Candidate, Judgement | None]
"""A candidate with what was said of it; None: it was not judged."""


def from_levels(
    prompt_id: str,
    candidates: Sequence[Candidate],
    levels: Sequence[float | None],
    *,
    strategy: str,
    good: float,
    band: float = 0.0,
) -> PartialOrder:
    """The order of these levels: above where a level is higher by more than `band`.

    The target is at the top, the human first among ties, if that is at least `good`; a human answer without a level is
    the target whatever the others are.
    """
    ids = tuple(candidate.candidate_id for candidate in candidates)
    pairs = tuple(
        OrderedPair(above=ids[i], below=ids[j])
        for i, a in enumerate(levels)
        for j, b in enumerate(levels)
        if a is not None and b is not None and a - b > band
    )
    return PartialOrder(
        prompt_id=prompt_id,
        strategy=strategy,
        candidate_ids=ids,
        levels=tuple(levels),
        pairs=pairs,
        target=_target(candidates, levels, good),
    )


def from_pairs(
    prompt_id: str,
    candidates: Sequence[Candidate],
    pairs: Iterable[OrderedPair],
    *,
    strategy: str,
    implied: bool = True,
    dropped: tuple[OrderedPair, ...] = (),
) -> PartialOrder:
    """The order of explicit pairs and, if `implied`, of those that follow from them, with margin 0.

    The target is a candidate with somebody below and nobody above, the human first. Raises InputError, naming the
    prompt and the cycle, when the pairs contradict each other.
    """
    ids = tuple(candidate.candidate_id for candidate in candidates)
    given = {(pair.above, pair.below): pair for pair in pairs}
    closed = transitive_closure(given, where=f"prompt {prompt_id}")
    below = {b for _, b in closed}
    above = {a for a, _ in closed}
    tops = [c for c in candidates if c.candidate_id in above - below]
    made = closed if implied else set(given)
    return PartialOrder(
        prompt_id=prompt_id,
        strategy=strategy,
        candidate_ids=ids,
        levels=(None,) * len(ids),
        pairs=tuple(given.get(edge) or OrderedPair(above=edge[0], below=edge[1]) for edge in sorted(made)),
        target=next((c.candidate_id for c in _human_first(tops)), None),
        dropped=dropped,
    )


def transitive_closure(edges: Iterable[tuple[str, str]], *, where: str) -> set[tuple[str, str]]:
    """Every (above, below) that follows. Raises InputError that names a cycle."""
    direct: dict[str, set[str]] = {}
    for a, b in edges:
        direct.setdefault(a, set()).add(b)
    closed: set[tuple[str, str]] = set()
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


def is_correct(judgement: Judgement | None) -> bool | None:
    """Whether the judge called it right; None when there is no verdict."""
    return judgement.correct if judgement is not None and judgement.status == "ok" else None


def is_human(candidate: Candidate) -> bool:
    """Whether an expert wrote the answer, whatever its group is called."""
    return candidate.source == "human"


def _target(candidates: Sequence[Candidate], levels: Sequence[float | None], good: float) -> str | None:
    unranked = [c for c, level in zip(candidates, levels, strict=True) if level is None and is_human(c)]
    if unranked:
        return unranked[0].candidate_id
    known = [level for level in levels if level is not None]
    if not known or max(known) < good:
        return None
    tops = [c for c, level in zip(candidates, levels, strict=True) if level == max(known)]
    return _human_first(tops)[0].candidate_id


def _human_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda c: not is_human(c))


def _cycle(start: str, came_from: dict[str, str]) -> str:
    path, node = [start], came_from[start]
    while node != start:
        path.append(node)
        node = came_from[node]
    return " > ".join([start, *reversed(path)])
