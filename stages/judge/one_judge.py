"""Judging by one teacher: its table of judgements, the prompts that it is asked about again, and its audit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hasse.pipeline.rows import WrittenTable
from hasse.pipeline.stage import Job
from hasse.stages.chat.money.spending import Spending
from hasse.stages.judge import traits
from hasse.stages.judge.audit import Audit, audit
from hasse.stages.judge.judgement_tables import audited, table_path, write_table
from hasse.stages.judge.repeats import add_open_units, ask_again
from hasse.stages.judge.traits import module_of
from hasse.stages.models.lazy import LazyModel


def judge_alone(job: Job, name: str, teacher: Any, spending: Spending) -> tuple[WrittenTable, Audit | None]:
    """Write the teacher's tables; return the first, with the open units of both, and the teacher's audit, if any.

    name: of the judge among several, else empty. Only a judge without others is compared with `audit.compare_with`;
    among several judges, the totals that they make together are.
    """
    module = module_of(teacher)
    model = LazyModel(job.input("teacher")) if module.NEEDS_MODEL else None
    written = write_table(job, teacher, model, spending, path=table_path(job, judge=name))
    again = ask_again(job, name, teacher, model, spending)
    if again is not None:
        written = replace(written, units_open=add_open_units([written.units_open, again.units_open]))
    module.close()
    if not traits.is_audited(teacher):
        return written, None
    other = Path(job.settings.audit.compare_with) if job.settings.audit.compare_with and not name else None
    return written, audit(audited(job, written.path), other=other, again=again.path if again else None)
