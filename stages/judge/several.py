"""Judging by several teachers: the table and the numbers of each, and the table of what they make together.

Judgements are cached per judge. Changing a weight or adding a judge re-uses all existing judgements.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from hasse.data.joins import CANDIDATE_COLUMNS
from hasse.data.records import Judgement
from hasse.pipeline.stage import Job
from hasse.stages.chat.money.spending import Spending
from hasse.stages.judge.agreement import agreement, scoring
from hasse.stages.judge.audit import audit
from hasse.stages.judge.judge_rows import items_of
from hasse.stages.judge.judgement_tables import audited, read_table, table_path
from hasse.stages.judge.one_judge import judge_alone
from hasse.stages.judge.repeats import add_open_units
from hasse.stages.judge.traits import members, module_of


def judge_together(job: Job, spending: Spending, codes: Mapping[str, str]) -> None:
    """Write the table of each judge, then the table of what they make together, and all their numbers.

    codes: name of a judge -> digest of the code that decides its rows, as in a step where this judge is alone.
    """
    judges = members(job.settings.teacher)
    metrics = {name: _judge_member(job, name, judges[name], spending, codes[name]) for name in judges}
    job.metrics["judges"] = metrics
    for count in ("units", "units_found", "units_computed"):
        job.metrics[count] = sum(numbers[count] for numbers in metrics.values())
    if units_open := add_open_units(numbers.get("units_open", {}) for numbers in metrics.values()):
        job.metrics["units_open"] = units_open
    job.write(_combined(job), Judgement)
    other = job.settings.audit.compare_with
    job.metrics["audit"] = audit(audited(job, table_path(job)), other=Path(other) if other else None)
    job.metrics["agreement"] = [_agreement(job, a, b) for a, b in combinations(judges, 2)]
    for measure in ("tau", "alike"):
        values = [pair[measure] for pair in job.metrics["agreement"] if pair[measure] is not None]
        job.metrics["audit"] |= {f"judges_{measure}": min(values)} if values else {}


def _judge_member(job: Job, name: str, teacher: Any, spending: Spending, code: str) -> dict[str, Any]:
    """Ask one judge as if it were alone, under the same keys, and return its numbers."""
    written, audited = judge_alone(replace(job, code=code), name, teacher, spending)
    numbers = {"teacher": teacher.teacher, "code": code, **written.metrics, "counts": written.counts}
    return numbers if audited is None else {**numbers, "audit": audited}


def _combined(job: Job) -> Iterator[Judgement]:
    """One judgement for each candidate, made of those in the judges' tables."""
    teacher = job.settings.teacher
    tables = {name: read_table(table_path(job, judge=name)) for name in members(teacher)}
    for prompt, candidates in items_of(job, CANDIDATE_COLUMNS):
        judgements = {name: next(rows)[1] for name, rows in tables.items()}
        yield from module_of(teacher).combine(prompt, candidates, judgements, teacher, job.settings.task)


def _agreement(job: Job, first: str, second: str) -> dict[str, Any]:
    """Measure how far two judges agree on the prompts that both judged."""
    tables = [(scoring(rows) for _, rows in read_table(table_path(job, judge=name))) for name in (first, second)]
    numbers = agreement(zip(*tables, strict=True))
    return {"judges": [first, second], "tau": numbers.tau, "alike": numbers.alike, "prompts": numbers.num_prompts}
