"""How far a teacher can be trusted, as numbers: does it agree with itself, and what else decides its scores?

Every number but the counts is a mean of what single judgements, pairs or prompts contribute; one to which nothing
contributed is left out. Candidates are compared within their prompt only.

    consistent, reversed      pairs that two presentation orders put alike (ties included); the other way round
    first_slot_preference     lead of the candidate shown first over the mean of the others, in units of the scale
    tie                       pairs with equal totals
    abstained                 judgements without a total, pairwise verdicts that abstain
    first_shown_wins          pairwise verdicts for the answer shown first, minus those against it, -1 to 1
    overruled                 pairs whose verdict the totals do not follow, because verdicts contradict each other
    refused, unparsable, ...  judgements of this status; asked_again: lists whose first reply was unusable
    length_correlation        of total and characters of the answer, both as differences from their prompt's mean
    gold_auc                  right answers that score above wrong ones to the same prompt, a tie for half
    tau                       Kendall's tau-b with another teacher's totals, the mean over prompts
    calls                     questions asked, and what all pairs in both orders would have taken; of listwise teachers
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

from pydantic import Field, model_validator

from data.config import Config, unkeyed
from data.errors import SourceError, WorkError
from data.parquet import read_records
from data.records import Judgement
from pipeline.fingerprint import file_digest
from stages.joins import by_prompt
from stages.pairwise import contradicted, decide, num_calls_of_all_pairs

STATUSES = ("refused", "truncated", "unparsable", "filtered", "budget_stopped", "failed")

Audit = dict[str, float]
Found = Iterator[tuple[str, float]]
Lengths = Mapping[str, int]
"""candidate_id -> characters of its answer."""


class AuditSettings(Config):
    """Bounds of what a teacher must satisfy; a bound that is left out is not checked."""

    min_consistent: float | None = Field(default=None, ge=0, le=1, description="Pairs alike in both orders.")
    max_reversed: float | None = Field(default=None, ge=0, le=1, description="Pairs turned over by the order.")
    max_first_slot_preference: float | None = Field(
        default=None, ge=0, description="Lead of the first place, either way, in units of the scale."
    )
    max_first_shown_wins: float | None = Field(
        default=None, ge=0, le=1, description="Preference for the first of a pair, either way."
    )
    max_tie: float | None = Field(default=None, ge=0, le=1, description="Pairs with equal totals.")
    max_abstained: float | None = Field(default=None, ge=0, le=1, description="Abstentions.")
    max_refused: float | None = Field(default=None, ge=0, le=1, description="Judgements refused.")
    max_unparsable: float | None = Field(default=None, ge=0, le=1, description="Judgements that cannot be read.")
    max_failed: float | None = Field(default=None, ge=0, le=1, description="Judgements that failed.")
    max_length_correlation: float | None = Field(
        default=None, ge=0, le=1, description="Correlation of total and length, either way."
    )
    min_gold_auc: float | None = Field(default=None, ge=0, le=1, description="Right answers above wrong ones.")
    min_tau: float | None = Field(default=None, ge=-1, le=1, description="Agreement with `compare_with`.")
    compare_with: str | None = unkeyed(
        None, description="A Parquet table of judgements by another teacher; its content enters the key."
    )

    @model_validator(mode="after")
    def _has_a_table(self) -> "AuditSettings":
        if self.min_tau is not None and self.compare_with is None:
            raise ValueError("min_tau compares with a table of judgements: set compare_with")
        return self

    def alone(self) -> "AuditSettings":
        """Without the other teacher's table, whose candidates are those of one round only."""
        return self.model_copy(update={"compare_with": None, "min_tau": None})

    def bounds(self) -> dict[str, float]:
        """Those that are set."""
        named = {name: getattr(self, name) for name in type(self).model_fields if name.startswith(("min_", "max_"))}
        return {name: bound for name, bound in named.items() if bound is not None}


def external(settings: AuditSettings) -> dict[str, str]:
    """Digests of files that the audit reads."""
    if settings.compare_with is None:
        return {}
    if not Path(settings.compare_with).is_file():
        raise SourceError("there is no such file", file=settings.compare_with)
    return {"compare_with": file_digest(Path(settings.compare_with))}


def audit(prompts: Iterable[tuple[Sequence[Judgement], Lengths]], *, other: Path | None = None) -> Audit:
    """The numbers of one teacher, from each prompt's judgements. other: a table of judgements to compare with."""
    means: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    moments, calls, calls_of_all_pairs = [0.0, 0.0, 0.0], 0, 0
    compared = {name: {j.candidate_id: j for j in found} for name, found in _groups(other)}
    for judgements, lengths in prompts:
        for name, value in _contributions(judgements, compared):
            means[name][0] += value
            means[name][1] += 1
        moments = [a + b for a, b in zip(moments, _moments(judgements, lengths), strict=True)]
        if any(j.presentation_order for j in judgements):
            calls += _num_calls(judgements)
            calls_of_all_pairs += num_calls_of_all_pairs(len(judgements))
    found: Audit = {name: total / count for name, (total, count) in means.items()}
    if moments[1] > 0 and moments[2] > 0:
        found["length_correlation"] = moments[0] / math.sqrt(moments[1] * moments[2])
    if calls:
        found |= {"calls": calls, "calls_of_all_pairs": calls_of_all_pairs}
    return found


def check(found: Audit, settings: AuditSettings, *, where: str) -> None:
    """Raises WorkError that names the bound and the value; a preference or correlation counts either way."""
    for name, bound in settings.bounds().items():
        kind, _, measure = name.partition("_")
        if measure not in found:
            raise WorkError(f"{where}: audit.{name} is {bound:g}, but nothing that was judged tells of {measure}")
        value = found[measure]
        if (value < bound) if kind == "min" else (abs(value) > bound):
            raise WorkError(
                f"{where}: {measure} of the judgements is {value:.3g}, audit.{name} is {bound:g}; the judgements are "
                "kept, nothing is published: ask another judge or in another way, or change the bound"
            )


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Tau-b of two scorings of the same candidates, -1 to 1; None when one of them ties all."""
    signs = [(_sign(a - c), _sign(b - d)) for (a, b), (c, d) in combinations(zip(first, second, strict=True), 2)]
    ordered = sum(abs(a) for a, _ in signs) * sum(abs(b) for _, b in signs)
    return sum(a * b for a, b in signs) / math.sqrt(ordered) if ordered else None


def _groups(table: Path | None) -> Iterator[tuple[str, list[Judgement]]]:
    return by_prompt(read_records(table, Judgement)) if table else iter(())


def _contributions(judgements: Sequence[Judgement], compared: Mapping[str, Mapping[str, Judgement]]) -> Found:
    scored = [j for j in judgements if j.status == "ok" and j.total is not None]
    for j in judgements:
        yield from ((status, j.status == status) for status in STATUSES)
        yield from (("asked_again", shown.num_asks > 1) for shown in j.presentations if shown.slot == 1)
        if j.status == "ok":
            yield "abstained", j.total is None
    yield from _of_pairs(scored)
    yield from _of_slots(judgements)
    yield from _of_verdicts(judgements)
    others = compared.get(judgements[0].prompt_id, {})
    both = [(j.total, others[j.candidate_id].total) for j in scored if j.candidate_id in others]
    known = [(a, b) for a, b in both if a is not None and b is not None]
    tau = kendall([a for a, _ in known], [b for _, b in known])
    if tau is not None:
        yield "tau", tau


def _of_pairs(scored: Sequence[Judgement]) -> Found:
    for a, b in combinations(scored, 2):
        sign = _sign((a.total or 0.0) - (b.total or 0.0))
        yield "tie", sign == 0
        if a.correct is not None and b.correct is not None and a.correct != b.correct:
            yield "gold_auc", (1 + (sign if a.correct else -sign)) / 2
        leads = [
            _sign(x.total - y.total)
            for x, y in zip(a.presentations, b.presentations, strict=False)
            if x.total is not None and y.total is not None
        ]
        if len(leads) == 2:
            yield "consistent", leads[0] == leads[1]
            yield "reversed", leads[0] * leads[1] < 0


def _of_slots(judgements: Sequence[Judgement]) -> Found:
    for number in range(max((len(j.presentations) for j in judgements), default=0)):
        shown = [j.presentations[number] for j in judgements if number < len(j.presentations)]
        first = [p.total for p in shown if p.slot == 1 and p.total is not None]
        others = [p.total for p in shown if p.slot != 1 and p.total is not None]
        if first and others:
            yield "first_slot_preference", fmean(first) - fmean(others)


def _of_verdicts(judgements: Sequence[Judgement]) -> Found:
    said = {(j.candidate_id, v.other): v.verdict for j in judgements for v in j.verdicts}
    for verdict in said.values():
        yield "abstained", verdict == "abstain"
        if verdict in ("win", "lose", "tie"):
            yield "first_shown_wins", {"win": 1, "lose": -1, "tie": 0}[verdict]
    total = {j.candidate_id: j.total for j in judgements if j.total is not None}
    for (a, b), verdict in said.items():
        if a < b and (b, a) in said and (decided := decide((a, b), verdict, said[b, a])):
            yield "overruled", contradicted(total, {(a, b): decided})


def _num_calls(judgements: Sequence[Judgement]) -> int:
    """Questions asked for this prompt, those asked again included."""
    lists = max((j.presentations for j in judgements), key=len, default=())
    return sum(p.num_asks for p in lists) + sum(len(j.verdicts) for j in judgements)


def _moments(judgements: Sequence[Judgement], lengths: Lengths) -> tuple[float, float, float]:
    """Sums over a prompt of (total x length, total squared, length squared), each less the prompt's mean."""
    pairs = [(j.total, lengths[j.candidate_id]) for j in judgements if j.status == "ok" and j.total is not None]
    if not pairs:
        return 0.0, 0.0, 0.0
    mean, mean_length = fmean(total for total, _ in pairs), fmean(length for _, length in pairs)
    moved = [(total - mean, length - mean_length) for total, length in pairs]
    return sum(t * n for t, n in moved), sum(t * t for t, _ in moved), sum(n * n for _, n in moved)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
