"""Measures how far a teacher can be trusted: does it agree with itself, and what else decides its scores?

Every number except the counts is a mean over judgements, pairs or prompts; a number without any of these is left out.
Candidates are only compared with candidates of the same prompt. `MEASURES` says what each number is.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

from hasse.data.joins import by_prompt
from hasse.data.parquet import read_records
from hasse.data.records import Judgement
from hasse.stages.judge.agreement import agreement, scoring, sign
from hasse.stages.judge.pair_questions import contradicted, decide, num_calls_of_all_pairs

STATUSES = ("refused", "truncated", "unparsable", "filtered", "budget_stopped", "failed")

MEASURES = {
    "gold_auc": "right answers scored above wrong answers to the same prompt; a tie counts half",
    "tau": "Kendall's tau-b with the totals of `compare_with`, -1 to 1, the mean over prompts",
    "alike": "pairs on which `compare_with` agrees",
    "judges_tau": "Kendall's tau-b of the two judges that agree least, -1 to 1",
    "judges_alike": "pairs on which two judges agree, for the two that agree least",
    "consistent": "pairs that both presentation orders put alike, ties included",
    "reversed": "pairs that the second presentation order puts the other way round",
    "first_slot_preference": "lead of the answer shown first over the mean of the others, in units of the scale",
    "first_shown_wins": "pairwise verdicts for the answer shown first minus those against it, -1 to 1",
    "repeat_alike": "pairs put alike when the same question was asked again",
    "repeat_tau": "Kendall's tau-b with the totals when the same question was asked again, -1 to 1",
    "repeat_shift": "mean change of a total when the same question was asked again, in units of the scale",
    "length_correlation": "correlation of total and characters of the answer, each less its mean over the prompt",
    "tie": "pairs with equal totals",
    "abstained": "judgements without a total, and pairwise verdicts that abstain",
    "overruled": "decided pairs that the totals do not follow, because verdicts contradict each other",
    "asked_again": "lists whose first reply was unusable",
    "refused": "judgements refused",
    "truncated": "judgements cut off at max_tokens",
    "unparsable": "judgements that cannot be read, after a second question too",
    "filtered": "judgements not made, because the question does not fit or a file has no row",
    "budget_stopped": "judgements not made for lack of money",
    "failed": "judgements that failed",
    "calls": "questions asked, second questions and pairs included",
    "calls_of_all_pairs": "questions that all pairs in both orders would have taken",
    "calls_saved": "the difference of the two",
}
"""Measure -> what it is, in the order of a report; a share from 0 to 1 unless the text says otherwise."""

Audit = dict[str, float]
Contributions = Iterator[tuple[str, float]]
Lengths = Mapping[str, int]
"""candidate_id -> number of characters of the answer."""


def audit(
    prompts: Iterable[tuple[Sequence[Judgement], Lengths]], *, other: Path | None = None, again: Path | None = None
) -> Audit:
    """The numbers of one teacher, from the judgements of each prompt.

    other: a table of judgements by another teacher, to compare with. again: the table of the same teacher's judgements
    when it was asked once more.
    """
    means: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    moments, calls, calls_of_all_pairs = [0.0, 0.0, 0.0], 0, 0
    own: dict[str, dict[str, float]] = {}
    for judgements, lengths in prompts:
        for name, value in _contributions(judgements):
            means[name][0] += value
            means[name][1] += 1
        moments = [a + b for a, b in zip(moments, _moments(judgements, lengths), strict=True)]
        if other or again:
            own[judgements[0].prompt_id] = dict(scoring(judgements))
        if any(j.presentation_order for j in judgements):
            calls += _num_calls(judgements)
            calls_of_all_pairs += num_calls_of_all_pairs(len(judgements))
    found: Audit = {name: total / count for name, (total, count) in means.items()}
    if moments[1] > 0 and moments[2] > 0:
        found["length_correlation"] = moments[0] / math.sqrt(moments[1] * moments[2])
    if calls:
        saved = calls_of_all_pairs - calls
        found |= {"calls": calls, "calls_of_all_pairs": calls_of_all_pairs, "calls_saved": saved}
    found |= _compared(own, other, "", ("tau", "alike"))
    return found | _compared(own, again, "repeat_", ("tau", "alike", "shift"))


def _compared(own: Mapping[str, Mapping[str, float]], table: Path | None, prefix: str, names: Sequence[str]) -> Audit:
    """Agreement on the prompts that both have scored; the table may hold more prompts, or fewer."""
    if table is None:
        return {}
    others = ((prompt_id, scoring(found)) for prompt_id, found in by_prompt(read_records(table, Judgement)))
    found = agreement((own[prompt_id], other) for prompt_id, other in others if prompt_id in own)
    values = {name: getattr(found, name) for name in names}
    return {f"{prefix}{name}": value for name, value in values.items() if value is not None}


def _contributions(judgements: Sequence[Judgement]) -> Contributions:
    scored = [j for j in judgements if j.status == "ok" and j.total is not None]
    for j in judgements:
        yield from ((status, j.status == status) for status in STATUSES)
        yield from (("asked_again", shown.num_asks > 1) for shown in j.presentations if shown.slot == 1)
        if j.status == "ok":
            yield "abstained", j.total is None
    yield from _of_pairs(scored)
    yield from _of_slots(judgements)
    yield from _of_verdicts(judgements)


def _of_pairs(scored: Sequence[Judgement]) -> Contributions:
    for a, b in combinations(scored, 2):
        above = sign((a.total or 0.0) - (b.total or 0.0))
        yield "tie", above == 0
        if a.correct is not None and b.correct is not None and a.correct != b.correct:
            yield "gold_auc", (1 + (above if a.correct else -above)) / 2
        leads = [
            sign(x.total - y.total)
            for x, y in zip(a.presentations, b.presentations, strict=False)
            if x.total is not None and y.total is not None
        ]
        if len(leads) == 2:
            yield "consistent", leads[0] == leads[1]
            yield "reversed", leads[0] * leads[1] < 0


def _of_slots(judgements: Sequence[Judgement]) -> Contributions:
    for number in range(max((len(j.presentations) for j in judgements), default=0)):
        shown = [j.presentations[number] for j in judgements if number < len(j.presentations)]
        first = [p.total for p in shown if p.slot == 1 and p.total is not None]
        others = [p.total for p in shown if p.slot != 1 and p.total is not None]
        if first and others:
            yield "first_slot_preference", fmean(first) - fmean(others)


def _of_verdicts(judgements: Sequence[Judgement]) -> Contributions:
    said = {(j.candidate_id, v.other): v.verdict for j in judgements for v in j.verdicts}
    for verdict in said.values():
        yield "abstained", verdict == "abstain"
        if verdict in ("win", "lose", "tie"):
            yield "first_shown_wins", {"win": 1, "lose": -1, "tie": 0}[verdict]
    total = {j.candidate_id: j.total for j in judgements if j.total is not None}
    for (a, b), verdict in said.items():
        decided = decide((a, b), verdict, said[b, a]) if a < b and (b, a) in said else None
        if decided and {a, b} <= set(total):
            yield "overruled", contradicted(total, {(a, b): decided})


def _num_calls(judgements: Sequence[Judgement]) -> int:
    """Questions asked about this prompt; a question asked again counts twice."""
    lists = max((j.presentations for j in judgements), key=len, default=())
    return sum(p.num_asks for p in lists) + sum(len(j.verdicts) for j in judgements)


def _moments(judgements: Sequence[Judgement], lengths: Lengths) -> tuple[float, float, float]:
    """Sums over a prompt of (total x length, total squared, length squared), with the prompt's means subtracted."""
    pairs = [(j.total, lengths[j.candidate_id]) for j in judgements if j.status == "ok" and j.total is not None]
    if not pairs:
        return 0.0, 0.0, 0.0
    moved = list(zip(*(_less_their_mean(values) for values in zip(*pairs, strict=True)), strict=True))
    return sum(t * n for t, n in moved), sum(t * t for t, _ in moved), sum(n * n for _, n in moved)


def _less_their_mean(values: Sequence[float]) -> list[float]:
    """The values less their mean; exact zeros where all are equal, for the mean of 0.1, 0.1 and 0.1 is not 0.1."""
    mean = values[0] if len(set(values)) == 1 else fmean(values)
    return [value - mean for value in values]
