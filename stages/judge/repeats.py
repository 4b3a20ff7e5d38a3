"""Ask a judge about some prompts once more, to measure whether it agrees with itself."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from hasse.data.joins import CANDIDATE_COLUMNS
from hasse.pipeline.rows import WrittenTable
from hasse.pipeline.stage import Job
from hasse.stages.chat.money.spending import Spending
from hasse.stages.judge import traits
from hasse.stages.judge.judge_rows import items_of
from hasse.stages.judge.judgement_tables import table_path, write_table
from hasse.stages.models.lazy import LazyModel


def chosen_again(job: Job, teacher: Any) -> set[str]:
    """The prompts that this teacher is asked about once more; none for a teacher whose answer cannot change."""
    if not job.settings.audit.repeats or not traits.repeats(teacher):
        return set()
    return job.settings.audit.asked_again(prompt.prompt_id for prompt, _ in items_of(job, CANDIDATE_COLUMNS))


def ask_again(job: Job, name: str, teacher: Any, model: LazyModel | None, spending: Spending) -> WrittenTable | None:
    """Write and return the table of the second judgements; None where no prompt is asked about again.

    name: of the judge among several, else empty.
    """
    chosen = chosen_again(job, teacher)
    if not chosen:
        return None
    path = table_path(job, judge=name, stem="repeat")
    return write_table(job, teacher, model, spending, path=path, repeat=1, chosen=chosen)


def add_open_units(tables: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up, by status, the units that the next run computes again."""
    return dict(sorted(sum(map(Counter, tables), Counter[str]()).items()))
