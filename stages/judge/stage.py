"""Stage judge: what one teacher, or several, says of every candidate, and how far that can be trusted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from pydantic import Field

from hasse.data.joins import CANDIDATE_COLUMNS
from hasse.data.records import Candidate, Judgement
from hasse.data.settings import Config, registry
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.rows import missing_units
from hasse.pipeline.stage import Job, Stage
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.money.estimate import estimate as estimate_of
from hasse.stages.chat.money.spending import Spending
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import audit_bounds, traits
from hasse.stages.judge.audit_bounds import AuditSettings
from hasse.stages.judge.judge_rows import NOT_JUDGED, units_of
from hasse.stages.judge.one_judge import judge_alone
from hasse.stages.judge.repeats import chosen_again
from hasse.stages.judge.several import judge_together
from hasse.stages.judge.traits import TEACHERS, members, module_of

Teacher = registry.settings_union(TEACHERS, "teacher")


class JudgeSettings(Config):
    """Settings of the judge stage, with the task that says which answers are right."""

    teacher: Teacher = Field(description="Who judges.")  # type: ignore[valid-type]
    task: TaskSettings
    audit: AuditSettings = AuditSettings()


def external(settings: JudgeSettings) -> dict[str, str]:
    """Digests of the files that the teacher and its audit read."""
    audited = audit_bounds.external(settings.audit) if traits.is_audited(settings.teacher) else {}
    return traits.external(settings.teacher) | audited


def run(job: Job) -> None:
    settings: JudgeSettings = job.settings
    statuses = Counter(c.status for c in job.input("candidates").records(Candidate, columns=CANDIDATE_COLUMNS))
    num_not_judged = sum(statuses[status] for status in NOT_JUDGED)
    spending = Spending(job, planned)
    if judges := members(settings.teacher):
        judge_together(job, spending, {name: _code(teacher) for name, teacher in judges.items()})
    else:
        written, audited = judge_alone(job, "", settings.teacher, spending)
        job.count(Judgement, written.counts)
        job.metrics |= written.metrics | ({} if audited is None else {"audit": audited})
    spending.close(job)
    num_judged = sum(job.counts["judgement"].values())
    job.conserve("candidates", expected=statuses.total(), found=num_judged + num_not_judged)
    job.metrics["candidates_not_judged"] = num_not_judged
    _check_audit(job, settings.audit)


def estimate(job: Job) -> dict[str, Any] | None:
    """The questions and the money that prompts without judgements would take; None where no endpoint is asked."""
    return estimate_of(planned(job))


def planned(job: Job) -> Iterator[Planned] | None:
    """The questions of each judge, first and repeated; prompts that already have judgements are left out now."""
    settings: JudgeSettings = job.settings
    if not traits.asks_endpoint(settings.teacher):
        return None
    questions: list[Iterator[Planned]] = []
    for name, teacher in traits.judges_of(settings.teacher).items():
        module = module_of(teacher)
        if module.questions is None:
            continue
        own = replace(job, code=_code(teacher)) if name else job
        for repeat, chosen in ((0, None), (1, chosen_again(job, teacher))):
            if chosen != set():
                units = missing_units(own, units_of(own, teacher, None, repeat=repeat, chosen=chosen), Judgement)
                questions.append(module.questions((unit.item for unit in units), teacher))
    return chain.from_iterable(questions)


def _check_audit(job: Job, bounds: AuditSettings) -> None:
    """Raise WorkError for an audit out of its bounds; a run that is out of money stops for that reason instead."""
    if "audit" in job.metrics and "budget_stopped" not in job.metrics.get("units_open", {}):
        judges = {name: judge["audit"] for name, judge in job.metrics.get("judges", {}).items() if "audit" in judge}
        audit_bounds.check(job.metrics["audit"], bounds, where=job.name, judges=judges)


def _code(teacher: Any) -> str:
    """The digest of the code that decides the rows of a step with this judge alone."""
    return digest(STAGE.row_code(traits.plugs(teacher)))


STAGE = Stage(
    name="judge",
    run=run,
    beside_rows=tuple(
        f"hasse.stages.judge.{name}"
        for name in (
            "stage",
            "one_judge",
            "several",
            "repeats",
            "judgement_tables",
            "audit",
            "agreement",
            "audit_bounds",
        )
    ),
)
