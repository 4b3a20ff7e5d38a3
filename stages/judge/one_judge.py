"""Judging by one teacher: its table of judgements, the prompts that it is asked about again, and its audit."""

from pathlib import Path
from typing import Any

from hasse.pipeline.stage import Job
from hasse.stages.chat.money.spending import Spending
from hasse.stages.judge import traits
from hasse.stages.judge.audit import Audit, audit
from hasse.stages.judge.judgement_tables import audited, table_path, write_table
from hasse.stages.judge.repeats import ask_again
from hasse.stages.judge.traits import module_of
from hasse.stages.models.lazy import LazyModel


def judge_alone(job: Job, name: str, teacher: Any, spending: Spending) -> Audit | None:
    """Write the teacher's tables and return its audit; None for a teacher that is not audited.

    name: of the judge among several, else empty. Only a judge without others is compared with `audit.compare_with`;
    among several judges, the totals that they make together are.
    """
    module = module_of(teacher)
    model = LazyModel(job.input("teacher")) if module.NEEDS_MODEL else None
    write_table(job, teacher, model, spending)
    again = ask_again(job, name, teacher, model, spending)
    if hasattr(module, "close"):
        module.close()
    if not traits.is_audited(teacher):
        return None
    other = job.settings.audit.compare_with if not name else None
    return audit(audited(job, table_path(job)), other=Path(other) if other else None, again=again)
