"""Ask a judge about some prompts once more, to measure whether it agrees with itself."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hasse.data.joins import CANDIDATE_COLUMNS
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


def ask_again(job: Job, name: str, teacher: Any, model: LazyModel | None, spending: Spending) -> Path | None:
    """Write the table of the second judgements and return its path; None where no prompt is asked about again.

    name: of the judge among several, else empty.
    """
    chosen = chosen_again(job, teacher)
    if not chosen:
        return None
    first = table_path(job).rename(job.path / "first.parquet")
    part = replace(job, counts={}, metrics={})
    write_table(part, teacher, model, spending, repeat=1, chosen=chosen)
    add_open_units(job, part.metrics)
    again = table_path(job).rename(table_path(job, judge=name, stem="repeat"))
    first.rename(table_path(job))
    return again


def add_open_units(job: Job, metrics: Mapping[str, Any]) -> None:
    """Add the units that a part of the work left open, for the next run to compute, to those of the job."""
    counts = Counter(job.metrics.get("units_open", {})) + Counter(metrics.get("units_open", {}))
    if counts:
        job.metrics["units_open"] = dict(sorted(counts.items()))
