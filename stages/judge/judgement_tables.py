"""The tables of judgements in the folder of a judge step.

judgement.parquet               the judgements of the only judge, or what several judges make together
judgement_by_<judge>.parquet    the judgements of one of several judges
repeat.parquet, repeat_by_<judge>.parquet       the judgements of prompts that were asked about once more
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hasse.data.joins import CANDIDATE_COLUMNS, by_prompt
from hasse.data.parquet import read_records
from hasse.data.records import Judgement
from hasse.pipeline.rows import WrittenTable, map_rows
from hasse.pipeline.stage import Job
from hasse.pipeline.store import table_name
from hasse.stages.chat.money.spending import Spending
from hasse.stages.judge import traits
from hasse.stages.judge.audit import Lengths
from hasse.stages.judge.judge_rows import items_of, judge_all, units_of
from hasse.stages.models.lazy import LazyModel

AUDITED_COLUMNS = [
    "prompt_id", "candidate_id", "teacher", "total", "correct", "presentation_order", "presentations", "verdicts",
    "status",
]  # fmt: skip
"""The columns of a judgement that the audit reads."""


def table_path(job: Job, *, judge: str = "", stem: str = table_name(Judgement)) -> Path:
    """The path of a table. judge: the name of one of several judges; stem: `judgement`, or `repeat`."""
    return job.path / f"{stem}{f'_by_{judge}' if judge else ''}.parquet"


def write_table(
    job: Job,
    teacher: Any,
    model: LazyModel | None,
    spending: Spending,
    *,
    path: Path,
    repeat: int = 0,
    chosen: set[str] | None = None,
) -> WrittenTable:
    """Write the table at `path`: what one teacher judges, of all prompts or of those in `chosen`."""
    task, asks_endpoint = job.settings.task, traits.asks_endpoint(teacher)
    options = {**({"repeat": repeat} if repeat else {}), **({"payer": spending} if asks_endpoint else {})}
    return map_rows(
        job,
        units_of(job, teacher, model, repeat=repeat, chosen=chosen),
        partial(judge_all, teacher=teacher, task=task, model=model, options=options),
        Judgement,
        total=sum(1 for _ in items_of(job, CANDIDATE_COLUMNS, chosen)),
        chunk_size=teacher.chunk_size,
        table=path.stem,
        ahead=int(traits.own_process(teacher)),
        gpus=int(traits.in_child(teacher)),
        stream=asks_endpoint,
    )


def read_table(table: Path, columns: list[str] | None = None) -> Iterator[tuple[str, list[Judgement]]]:
    """(prompt_id, its judgements) of every prompt in the table."""
    return by_prompt(read_records(table, Judgement, columns=columns))


def audited(job: Job, table: Path) -> Iterator[tuple[list[Judgement], Lengths]]:
    """The judgements of each prompt in the table, with the lengths of its answers."""
    for (prompt, candidates), (prompt_id, judgements) in zip(
        items_of(job, CANDIDATE_COLUMNS), read_table(table, AUDITED_COLUMNS), strict=True
    ):
        assert prompt.prompt_id == prompt_id, f"{prompt.prompt_id} is judged as {prompt_id}"
        yield judgements, {c.candidate_id: len(c.text) for c in candidates}
