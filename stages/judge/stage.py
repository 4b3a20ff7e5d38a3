"""Stage judge: what a teacher, or several, says of every candidate, and how far that can be trusted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from pydantic import Field

from hasse.data.joins import CANDIDATE_COLUMNS, by_prompt
from hasse.data.parquet import read_records
from hasse.data.records import Candidate, Judgement
from hasse.data.settings import Config, registry
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.rows import map_rows, missing
from hasse.pipeline.stage import Job, Stage
from hasse.pipeline.store import table_name
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.money.estimate import estimate as estimated
from hasse.stages.chat.money.spending import Spending
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import audit
from hasse.stages.judge import audit_bounds as bounds
from hasse.stages.judge import traits as teacher_traits
from hasse.stages.judge.agreement import agreement, scoring
from hasse.stages.judge.audit_bounds import AuditSettings
from hasse.stages.judge.judging import NOT_JUDGED, items_of, judge_all, units_of
from hasse.stages.judge.traits import TEACHERS, members, module_of
from hasse.stages.models.lazy import LazyModel

Teacher = registry.settings_union(TEACHERS, "teacher")

AUDITED_COLUMNS = [
    "prompt_id", "candidate_id", "teacher", "total", "correct", "presentation_order", "presentations", "verdicts",
    "status",
]  # fmt: skip
"""Of judgements, what the audit looks at."""


class JudgeSettings(Config):
    """Settings of the judge stage, with the task that says what is right."""

    teacher: Teacher = Field(description="Who judges.")  # type: ignore[valid-type]
    task: TaskSettings
    audit: AuditSettings = AuditSettings()


def external(settings: JudgeSettings) -> dict[str, str]:
    """Digests of files that the teacher and its audit read."""
    audited = bounds.external(settings.audit) if teacher_traits.is_audited(settings.teacher) else {}
    return teacher_traits.external(settings.teacher) | audited


def run(job: Job) -> None:
    settings: JudgeSettings = job.settings
    statuses = Counter(c.status for c in job.input("candidates").records(Candidate, columns=CANDIDATE_COLUMNS))
    num_not_judged = sum(statuses[status] for status in NOT_JUDGED)
    spending = Spending(job, planned)
    if members(settings.teacher):
        _ask_several(job, settings, spending)
    else:
        audited = _ask_one(job, "", settings.teacher, spending)
        if audited is not None:
            job.metrics["audit"] = audited
    spending.close(job)
    found = sum(job.counts["judgement"].values())
    job.conserve("candidates", expected=statuses.total(), found=found + num_not_judged)
    job.metrics["candidates_not_judged"] = num_not_judged
    # Where money was at an end the run stops, and for that reason.
    if "audit" in job.metrics and "budget_stopped" not in job.metrics.get("units_open", {}):
        judges = {name: judge["audit"] for name, judge in job.metrics.get("judges", {}).items() if "audit" in judge}
        bounds.check(job.metrics["audit"], settings.audit, where=job.name, judges=judges)


def estimate(job: Job) -> dict[str, Any] | None:
    """What judging the prompts without judgements takes in questions and money; None where no endpoint is asked."""
    return estimated(planned(job))


def planned(job: Job) -> Iterator[Planned] | None:
    """The questions of each judge, and those that are asked again; which prompts have judgements is seen now."""
    settings: JudgeSettings = job.settings
    if not teacher_traits.asks(settings.teacher):
        return None
    found: list[Iterator[Planned]] = []
    for name, teacher in teacher_traits.judging(settings.teacher).items():
        module = module_of(teacher)
        if not hasattr(module, "questions"):
            continue
        own = replace(job, code=_code(teacher)) if name else job
        for repeat, chosen in ((0, None), (1, _chosen_again(job, teacher))):
            if chosen != set():
                units = missing(own, units_of(own, teacher, None, repeat=repeat, chosen=chosen), Judgement)
                found.append(module.questions((unit.item for unit in units), teacher))
    return chain.from_iterable(found)


def _ask_several(job: Job, settings: JudgeSettings, spending: Spending) -> None:
    """Each judge's table and numbers, then the table of what they make together."""
    judges = members(settings.teacher)
    job.metrics["judges"] = {name: _ask_member(job, name, teacher, spending) for name, teacher in judges.items()}
    for count in ("units", "units_found", "units_computed"):
        job.metrics[count] = sum(found[count] for found in job.metrics["judges"].values())
    for found in job.metrics["judges"].values():
        _leave_open(job, found)
    job.write(_combined(job, settings), Judgement)
    other = settings.audit.compare_with
    job.metrics["audit"] = audit.audit(_judged(job, _table(job)), other=Path(other) if other else None)
    job.metrics["agreement"] = [_agreement(job, a, b) for a, b in combinations(judges, 2)]
    for measure in ("tau", "alike"):
        values = [found[measure] for found in job.metrics["agreement"] if found[measure] is not None]
        job.metrics["audit"] |= {f"judges_{measure}": min(values)} if values else {}


def _ask_member(job: Job, name: str, teacher: Any, spending: Spending) -> dict[str, Any]:
    """As it would be asked alone, under the same keys; gives its metrics."""
    code = _code(teacher)
    own = replace(job, code=code, counts={}, metrics={})
    audited = _ask_one(own, name, teacher, spending)
    _table(job).rename(_table(job, name))
    found = {"teacher": teacher.teacher, "code": code, **own.metrics, "counts": own.counts["judgement"]}
    return found if audited is None else {**found, "audit": audited}


def _code(teacher: Any) -> str:
    """As of a stage with this judge alone."""
    return digest(STAGE.row_code(teacher_traits.plugs(teacher)))


def _leave_open(job: Job, found: dict[str, Any]) -> None:
    """Units of a part of the work that the next run computes again are so of the whole."""
    counts = Counter(job.metrics.get("units_open", {})) + Counter(found.get("units_open", {}))
    if counts:
        job.metrics["units_open"] = dict(sorted(counts.items()))


def _agreement(job: Job, first: str, second: str) -> dict[str, Any]:
    tables = [(scoring(found) for _, found in _rows(_table(job, name))) for name in (first, second)]
    found = agreement(zip(*tables, strict=True))
    return {"judges": [first, second], "tau": found.tau, "alike": found.alike, "prompts": found.num_prompts}


def _ask_one(job: Job, name: str, teacher: Any, spending: Spending) -> audit.Audit | None:
    """Writes the table of its judgements and, of some prompts, that of what it says again; gives its audit.

    name: among several judges. Another teacher's table is compared with what several make together.
    """
    settings: JudgeSettings = job.settings
    module = module_of(teacher)
    model = LazyModel(job.input("teacher")) if module.NEEDS_MODEL else None
    _ask(job, teacher, model, spending)
    again = _ask_again(job, name, teacher, model, spending)
    if hasattr(module, "close"):
        module.close()
    if not teacher_traits.is_audited(teacher):
        return None
    other = settings.audit.compare_with if not name else None
    return audit.audit(_judged(job, _table(job)), other=Path(other) if other else None, again=again)


def _ask_again(job: Job, name: str, teacher: Any, model: LazyModel | None, spending: Spending) -> Path | None:
    """The table of prompts that are asked about once more, where the answer may be another."""
    chosen = _chosen_again(job, teacher)
    if not chosen:
        return None
    first = _table(job).rename(job.path / "first.parquet")
    part = replace(job, counts={}, metrics={})
    _ask(part, teacher, model, spending, repeat=1, chosen=chosen)
    _leave_open(job, part.metrics)
    again = _table(job).rename(_table(job, name, stem="repeat"))
    first.rename(_table(job))
    return again


def _chosen_again(job: Job, teacher: Any) -> set[str]:
    """The prompts that are asked about once more."""
    if not job.settings.audit.repeats or not teacher_traits.repeats(teacher):
        return set()
    return job.settings.audit.asked_again(prompt.prompt_id for prompt, _ in items_of(job, CANDIDATE_COLUMNS))


def _ask(
    job: Job,
    teacher: Any,
    model: LazyModel | None,
    spending: Spending,
    *,
    repeat: int = 0,
    chosen: set[str] | None = None,
) -> None:
    """Writes the table of judgements by one teacher, of all prompts or of those chosen."""
    task, asks = job.settings.task, teacher_traits.asks(teacher)
    options = {**({"repeat": repeat} if repeat else {}), **({"payer": spending} if asks else {})}
    map_rows(
        job,
        units_of(job, teacher, model, repeat=repeat, chosen=chosen),
        partial(judge_all, teacher=teacher, task=task, model=model, options=options),
        Judgement,
        total=sum(1 for _ in items_of(job, CANDIDATE_COLUMNS, chosen)),
        chunk_size=teacher.chunk_size,
        ahead=int(teacher_traits.own_process(teacher)),
        gpus=int(teacher_traits.in_child(teacher)),
        stream=asks,
    )


def _combined(job: Job, settings: JudgeSettings) -> Iterator[Judgement]:
    """One judgement a candidate, of those in the judges' tables."""
    module = module_of(settings.teacher)
    tables = {name: _rows(_table(job, name)) for name in members(settings.teacher)}
    for prompt, candidates in items_of(job, CANDIDATE_COLUMNS):
        said = {name: next(rows)[1] for name, rows in tables.items()}
        yield from module.combine(prompt, candidates, said, settings.teacher, settings.task)


def _judged(job: Job, table: Path) -> Iterator[tuple[list[Judgement], dict[str, int]]]:
    """The judgements of each prompt, with the lengths of its answers."""
    for (prompt, candidates), (prompt_id, judgements) in zip(
        items_of(job, CANDIDATE_COLUMNS), _rows(table, AUDITED_COLUMNS), strict=True
    ):
        assert prompt.prompt_id == prompt_id, f"{prompt.prompt_id} is judged as {prompt_id}"
        yield judgements, {c.candidate_id: len(c.text) for c in candidates}


def _rows(table: Path, columns: list[str] | None = None) -> Iterator[tuple[str, list[Judgement]]]:
    return by_prompt(read_records(table, Judgement, columns=columns))


def _table(job: Job, judge: str = "", stem: str = table_name(Judgement)) -> Path:
    return job.path / f"{stem}{f'_by_{judge}' if judge else ''}.parquet"


STAGE = Stage(
    name="judge",
    run=run,
    beside_rows=(
        "hasse.stages.judge.stage",
        "hasse.stages.judge.audit",
        "hasse.stages.judge.agreement",
        "hasse.stages.judge.audit_bounds",
    ),
)
