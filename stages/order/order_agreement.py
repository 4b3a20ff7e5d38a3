"""Measures how far two partial orders of the same candidates agree, pair by pair."""

import math
from dataclasses import dataclass
from itertools import combinations

from hasse.data.records import PartialOrder
from hasse.stages.order.partial_order import Edge


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAgreement:
    """Counts of the pairs of candidates that both orders hold; each pair is counted once."""

    num_same: int
    """Pairs that both orders put the same way round."""
    num_reversed: int
    """Pairs that the orders put in opposite ways."""
    num_only_first: int
    """Pairs that are ordered in the first order and incomparable in the second."""
    num_only_second: int
    """Pairs that are ordered in the second order and incomparable in the first."""
    num_incomparable: int
    """Pairs that are incomparable in both orders."""

    @property
    def tau(self) -> float | None:
        """Kendall's tau-b, -1 to 1, with incomparable pairs as ties; None when one order has no pair to compare."""
        both = self.num_same + self.num_reversed
        compared = (both + self.num_only_first) * (both + self.num_only_second)
        return (self.num_same - self.num_reversed) / math.sqrt(compared) if compared else None


def order_agreement(first: PartialOrder, second: PartialOrder) -> OrderAgreement:
    """Compare the orders' pairs as they stand; candidates that one order lacks are left out."""
    common = [name for name in first.candidate_ids if name in second.candidate_ids]
    edges, others = ({(pair.above, pair.below) for pair in order.pairs} for order in (first, second))
    ways = [(_way(edges, a, b), _way(others, a, b)) for a, b in combinations(common, 2)]
    return OrderAgreement(
        num_same=sum(a * b > 0 for a, b in ways),
        num_reversed=sum(a * b < 0 for a, b in ways),
        num_only_first=sum(a != 0 and b == 0 for a, b in ways),
        num_only_second=sum(a == 0 and b != 0 for a, b in ways),
        num_incomparable=sum(a == 0 and b == 0 for a, b in ways),
    )


def _way(edges: set[Edge], a: str, b: str) -> int:
    """1 when `a` is above `b`, -1 when it is below, 0 when the two are incomparable."""
    return ((a, b) in edges) - ((b, a) in edges)
