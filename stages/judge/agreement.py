"""Measures the agreement of two scorings of the same candidates, by two judges or by one judge asked twice."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from hasse.data.records import Judgement

Scoring = Mapping[str, float]
"""candidate_id -> total, for the scored candidates of one prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringAgreement:
    """Agreement of two scorings; a number is None where there was nothing to compare.

    tau: Kendall's tau-b, -1 to 1, the mean over prompts. alike: the share of the pairs of candidates on which both
    scorings agree: which candidate is better, or that neither is. shift: the mean difference of the two totals of a
    candidate, in units of the scale.
    """

    tau: float | None
    alike: float | None
    shift: float | None
    num_prompts: int


def agreement(prompts: Iterable[tuple[Scoring, Scoring]]) -> ScoringAgreement:
    """Compare the two scorings of each prompt; candidates that one scoring lacks are left out."""
    taus: list[float] = []
    same = pairs = num_prompts = candidates = 0
    shift = 0.0
    for first, second in prompts:
        both = [name for name in first if name in second]
        signs = list(_signs([first[n] for n in both], [second[n] for n in both]))
        tau = kendall([first[n] for n in both], [second[n] for n in both])
        taus += [] if tau is None else [tau]
        same, pairs = same + sum(a == b for a, b in signs), pairs + len(signs)
        shift, candidates = shift + sum(abs(first[n] - second[n]) for n in both), candidates + len(both)
        num_prompts += bool(both)
    return ScoringAgreement(
        tau=sum(taus) / len(taus) if taus else None,
        alike=same / pairs if pairs else None,
        shift=shift / candidates if candidates else None,
        num_prompts=num_prompts,
    )


def scoring(judgements: Iterable[Judgement]) -> Scoring:
    """The totals of the judgements that have one."""
    return {j.candidate_id: j.total for j in judgements if j.status == "ok" and j.total is not None}


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two scorings of the same candidates, -1 to 1; None when one scoring ties all candidates."""
    signs = list(_signs(first, second))
    ordered = sum(abs(a) for a, _ in signs) * sum(abs(b) for _, b in signs)
    return sum(a * b for a, b in signs) / math.sqrt(ordered) if ordered else None


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _signs(first: Sequence[float], second: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Give, for each pair of candidates, the order in each scoring: 1 or -1, and 0 for a tie."""
    return ((sign(a - c), sign(b - d)) for (a, b), (c, d) in combinations(zip(first, second, strict=True), 2))
