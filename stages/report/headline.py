"""The first lines of a report: which arms are better or worse than a baseline, in sentences."""

from collections.abc import Mapping, Sequence

import numpy as np

from hasse.stages.report.results import Result
from hasse.stages.statistics.bootstrap import Interval

Differences = Mapping[str, Interval]
"""Arm -> how much higher it is than the baseline, as a share."""


def headline(results: Sequence[Result], baselines: Sequence[str]) -> list[str]:
    """One sentence for each decoding and baseline, and a last one about the differences that would be found."""
    sentences, detectable = [], []
    for decoding in dict.fromkeys(result.decoding for result in results):
        mine = [result for result in results if result.decoding == decoding]
        for baseline in baselines:
            differences = {r.arm: r.differences[baseline] for r in mine if baseline in r.differences}
            if differences:
                clauses = "; ".join(_clauses(differences, baseline))
                sentences.append(f"On {decoding} answers, {clauses}.")
                detectable.append(100 * float(np.median([d.smallest_detectable for d in differences.values()])))
    return [*sentences, *_power(detectable)]


def _clauses(differences: Differences, baseline: str) -> list[str]:
    """Arms by what their intervals say. The first clause names the baseline, and the first number its unit."""
    better = {arm: d for arm, d in differences.items() if d.low > 0}
    worse = {arm: d for arm, d in differences.items() if d.high < 0}
    unclear = {arm: d for arm, d in differences.items() if not d.excludes_zero}
    verbs = [
        (better, ("is", "are"), "better", "than"),
        (worse, ("is", "are"), "worse", "than"),
        (unclear, ("shows", "show"), "no clear difference", "from"),
    ]
    clauses: list[str] = []
    for arms, (singular, plural), verdict, preposition in verbs:
        if arms:
            names = _listed(arms, is_first=not clauses)
            rival = "" if clauses else f" {preposition} {'the student' if baseline == 'student' else baseline}"
            clauses.append(f"{names} {singular if len(arms) == 1 else plural} {verdict}{rival}")
    return clauses


def _listed(differences: Differences, *, is_first: bool) -> str:
    """`a (+4.1 points, 95 % interval 1.2 to 7.0), b (+2.0, 0.1 to 3.9) and c (...)`, without unclear intervals."""
    named = []
    for arm, difference in differences.items():
        explained = is_first and not named
        number = f"{100 * difference.mean:+.1f}{' points' if explained else ''}"
        if difference.excludes_zero:
            bounds = f"{100 * difference.low:.1f} to {100 * difference.high:.1f}"
            number = f"{number}, {'95 % interval ' if explained else ''}{bounds}"
        named.append(f"{arm} ({number})")
    return " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))


def _power(detectable: Sequence[float]) -> list[str]:
    """detectable: the smallest difference of a typical arm that each comparison would find, in points."""
    bounds = list(dict.fromkeys(f"{value:.1f}" for value in (min(detectable), max(detectable)))) if detectable else []
    if not bounds or not max(detectable):
        return []
    which = "" if len(bounds) == 1 else ", depending on the comparison,"
    return [f"A true difference of {' to '.join(bounds)} points{which} would be found in 4 of 5 such experiments."]
