"""Fail a step if too many of its rows came to nothing; good rows stay in the store."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from hasse.data.errors import WorkError
from hasse.data.parquet import read_records
from hasse.data.records import Candidate, Duel, Feedback, Judgement
from hasse.pipeline.stage import Job
from hasse.pipeline.store import table_name

LOST: dict[type, frozenset[str]] = {
    Candidate: frozenset({"failed", "refused", "unparsable"}),
    Judgement: frozenset({"failed", "refused", "unparsable", "truncated"}),
    Feedback: frozenset({"failed", "refused", "unparsable", "truncated"}),
    Duel: frozenset({"failed", "refused", "unparsable", "truncated"}),
}
"""Record -> statuses of rows that came to nothing. Truncated answers are judged; truncated judgements are useless."""

USABLE: dict[type, frozenset[str]] = {
    Candidate: frozenset({"ok", "truncated"}),
    Judgement: frozenset({"ok"}),
    Feedback: frozenset({"ok"}),
    Duel: frozenset({"ok"}),
}


@dataclass
class FailureCounts:
    """Counts of the rows of one judge, annotator or sampling group."""

    rows: Counter[str] = field(default_factory=Counter)
    """prompt_id -> number of rows"""
    lost: Counter[str] = field(default_factory=Counter)
    """prompt_id -> number of rows that came to nothing"""
    statuses: Counter[str] = field(default_factory=Counter)
    """Status -> number of rows that came to nothing."""
    usable: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def check(job: Job, *, max_failed: float, bound_elsewhere: Collection[str] = ()) -> None:
    """Raises WorkError if more than a share `max_failed` of a table's rows came to nothing, or if no row is usable.

    A single such row does not stop a step that has usable rows, unless `max_failed` is 0. Candidates are counted for
    each sampling group, so that a dead endpoint stands out among other groups. Every prompt of a group has the same
    weight: a failed question leaves one row, an answered one leaves a row for each sample.
    bound_elsewhere: statuses for which the recipe has another bound.
    A step that ran out of money is not checked, since the run stops for that reason.
    """
    if "budget_stopped" in job.metrics.get("units_open", {}):
        return
    for record in LOST:
        for path in _tables(job, record):
            for name, group in _groups(path, record, set(bound_elsewhere)).items():
                _check(job, path.stem if not name else f"group {name}", group, max_failed)


def _check(job: Job, name: str, group: FailureCounts, max_failed: float) -> None:
    num_lost, num_rows = group.lost.total(), group.rows.total()
    share = sum(lost / group.rows[prompt_id] for prompt_id, lost in group.lost.items()) / len(group.rows)
    forgiven = num_lost == 1 and max_failed > 0
    if group.usable and (share <= max_failed + 1e-9 or forgiven):
        return
    counted = ", ".join(f"{n} {status}" for status, n in group.statuses.most_common())
    bound = f"{share:.1%} where max_failed allows {max_failed:.1%}" if group.usable else "not one row is usable"
    raise WorkError(
        f"{job.name}, {name}: {num_lost} of {num_rows} rows came to nothing{f' ({counted})' if counted else ''}; "
        f"{bound}.{_commonest(group)} "
        "Nothing is published and good rows are kept: the same command, or Retry, asks again for what failed. What was "
        "refused, cut off or unparsable stays so until the model, the template or a limit changes. "
        "To go on without these rows, raise max_failed"
    )


def _commonest(group: FailureCounts) -> str:
    if not group.errors:
        return ""
    error, times = group.errors.most_common(1)[0]
    return f" The commonest reason, {times} times: {error[:300].rstrip('.')}."


def _tables(job: Job, record: type) -> Iterator[Path]:
    """The record's table and, if there are several judges, the table of each."""
    stem = table_name(record)
    yield from sorted(path for path in job.path.glob(f"{stem}*.parquet") if path.stem == stem or "_by_" in path.stem)


def _groups(path: Path, record: type, bound_elsewhere: set[str]) -> dict[str, FailureCounts]:
    found: defaultdict[str, FailureCounts] = defaultdict(FailureCounts)
    needed = [f.name for f in fields(record) if f.default is MISSING]
    for row in read_records(path, record, columns=[*needed, "status", "error"]):
        group = found[row.group if isinstance(row, Candidate) else ""]
        group.rows[row.prompt_id] += 1
        group.usable += row.status in USABLE[record]
        if row.status in LOST[record] - bound_elsewhere:
            group.lost[row.prompt_id] += 1
            group.statuses[row.status] += 1
        if row.error and row.status not in USABLE[record]:
            group.errors[row.error] += 1
    return dict(found)
