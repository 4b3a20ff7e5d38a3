"""Totals of different judges on one scale, so that they can be compared and averaged within a prompt."""

from collections.abc import Callable, Mapping
from statistics import fmean, pstdev

Totals = Mapping[str, float]
"""candidate_id -> total, for the candidates of one prompt that a judge scored."""


def standardised_ranks(totals: Totals) -> dict[str, float]:
    """The share of the other candidates that a candidate beats, 0 to 1; a tie counts half, and 0.5 without others."""
    others = len(totals) - 1
    return {
        name: sum((total > other) + (total == other) / 2 for key, other in totals.items() if key != name) / others
        if others
        else 0.5
        for name, total in totals.items()
    }


def z_scores(totals: Totals) -> dict[str, float]:
    """Standard deviations above the mean; 0 where all totals are equal."""
    mean, deviation = (fmean(totals.values()), pstdev(totals.values())) if totals else (0.0, 0.0)
    return {name: (total - mean) / deviation if deviation > 0 else 0.0 for name, total in totals.items()}


SCALES: dict[str, Callable[[Totals], Totals]] = {"ranks": standardised_ranks, "z_scores": z_scores, "totals": dict}


def weighted_mean(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted mean of `values`, rounded to six decimals so that rounding errors make no order out of a tie."""
    return round(sum(weights[n] * v for n, v in values.items()) / sum(weights[n] for n in values), 6)
