"""Questions on the pairs about which two scored lists disagree, and totals that respect the verdicts.

Totals are moved by cyclic projections. In turn, each pair whose difference is not allowed has both its totals moved
equally far, to the nearest difference that is allowed. Where verdicts contradict each other, no totals can respect all
of them; the audit counts the verdicts that are not respected.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from hasse.stages.chat.json_replies import Schema, json_object, object_schema
from hasse.stages.statistics.comparison import PairComparison

Pair = tuple[str, str]
Totals = Mapping[str, float]

WORDS = {"A": "win", "B": "lose", "TIE": "tie", "ABSTAIN": "abstain"}
TURNED = {"win": "lose", "lose": "win", "tie": "tie"}

SCHEMA: Schema = object_schema(
    {"rationale": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "tie", "abstain"]}}
)
"""The schema of the reply that `read_verdict` reads."""

GAP = 0.01
"""How far a verdict keeps two totals apart, in units of the scale."""
ROUNDS = 1000
PRECISION = 6
"""Decimals of a total, so that tied totals are equal and not merely close."""


def reversed_pairs(first: Totals, second: Totals) -> list[Pair]:
    """The pairs that the two lists put in opposite orders; a tie in one list is no disagreement."""
    return [(a, b) for a, b in combinations(first, 2) if (first[a] - first[b]) * (second[a] - second[b]) < 0]


def read_verdict(text: str) -> str:
    """The verdict on the candidate shown as A: win, lose, tie or abstain. Raises ValueError for another word."""
    stated = json_object(text, "verdict")["verdict"]
    word = WORDS.get(str(stated).strip().upper())
    if word is None:
        raise ValueError(f"the verdict is {stated!r}; it must be A, B, tie or abstain")
    return word


def decide(pair: Pair, verdict: str, verdict_turned: str) -> str | None:
    """The verdict on the first candidate of the pair, from the questions that showed it first and second.

    It is win or lose only where both verdicts say so, else a tie; None where both abstain or are unusable.
    """
    first = verdict if verdict in TURNED else None
    return PairComparison(prompt_id=str(pair), first=first, second=TURNED.get(verdict_turned)).verdict  # type: ignore[arg-type]  words of PairComparison


def settle(first: Totals, second: Totals, verdicts: Mapping[Pair, str | None]) -> dict[str, float]:
    """The mean of both lists, moved so that decided pairs stand as decided and no other pair changes its order."""
    total = {name: (first[name] + second[name]) / 2 for name in first}
    allowed = {
        (a, b): _allowed(verdicts.get((a, b)), total[a] - total[b])
        for a, b in combinations(first, 2)
        if (a, b) not in verdicts or verdicts[a, b] is not None
    }
    for _ in range(ROUNDS if any(verdicts.values()) else 0):
        if _project(total, allowed) < 0.1**PRECISION / 100:
            break
    return {name: round(value, PRECISION) for name, value in total.items()}


def contradicted(total: Totals, verdicts: Mapping[Pair, str | None]) -> int:
    """The number of decided pairs that the totals do not put as decided."""
    signs = {"win": 1, "lose": -1, "tie": 0}
    return sum(
        signs[verdict] != (total[a] > total[b]) - (total[a] < total[b])
        for (a, b), verdict in verdicts.items()
        if verdict is not None
    )


def num_calls_of_all_pairs(num_candidates: int) -> int:
    """The number of questions that would compare every pair of a prompt in both orders."""
    return num_candidates * (num_candidates - 1)


def _allowed(verdict: str | None, difference: float) -> tuple[float, float]:
    """The bounds within which the difference of two totals must lie; `difference` is the present one."""
    if verdict == "tie":
        return 0.0, 0.0
    if verdict is None:  # not asked: the lists agree, so the lead may shrink but not change sides
        near = min(GAP, abs(difference))
        return (near, math.inf) if difference > 0 else (-math.inf, -near) if difference < 0 else (-math.inf, math.inf)
    return (GAP, math.inf) if verdict == "win" else (-math.inf, -GAP)


def _project(total: dict[str, float], allowed: Mapping[Pair, Sequence[float]]) -> float:
    """Project each pair once; returns the largest distance by which a total was moved."""
    longest = 0.0
    for (a, b), (low, high) in allowed.items():
        difference = total[a] - total[b]
        shift = (min(max(difference, low), high) - difference) / 2
        total[a] += shift
        total[b] -= shift
        longest = max(longest, abs(shift))
    return longest
