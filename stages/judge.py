"""Stage judge: what a teacher says of every candidate."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from data import registry
from data.config import Config, key_of
from data.parquet import read_records
from data.records import Candidate, Judgement, Prompt
from pipeline.fingerprint import canonical, text_digest
from pipeline.rows import Unit, map_rows, missing
from pipeline.stage import Job, Stage
from pipeline.store import table_name
from stages import audit
from stages.audit import AuditSettings
from stages.chat_estimate import estimate as estimated
from stages.grading import TaskSettings
from stages.joins import by_prompt, join
from stages.loaded import LazyModel
from stages.spending import Spending

TEACHERS = "stages.teachers"
Teacher = registry.settings_union(TEACHERS, "teacher")

Item = tuple[Prompt, list[Candidate]]

JUDGED = {"ok", "truncated"}
"""Statuses of candidates that are judged: an answer that was cut off is judged as it stands."""

CANDIDATE_COLUMNS = ["prompt_id", "candidate_id", "text", "finish_reason", "source", "status", "error"]


class JudgeSettings(Config):
    """Settings of the judge stage, with the task that says what is right."""

    teacher: Teacher = Field(description="Who judges.")  # type: ignore[valid-type]
    task: TaskSettings
    audit: AuditSettings = AuditSettings()


def external(settings: JudgeSettings) -> dict[str, str]:
    """Digests of files that the teacher and its audit read."""
    return _of_teacher(settings.teacher) | (audit.external(settings.audit) if is_audited(settings.teacher) else {})


def run(job: Job) -> None:
    settings: JudgeSettings = job.settings
    statuses = [c.status for c in job.input("candidates").records(Candidate, columns=CANDIDATE_COLUMNS)]
    num_accepted = sum(status in JUDGED for status in statuses)
    teacher = registry.load(TEACHERS, settings.teacher.teacher, kind="teacher")
    model = LazyModel(job.input("teacher")) if teacher.NEEDS_MODEL else None
    spending = Spending(job, estimate)
    map_rows(
        job,
        _units(job, model),
        lambda chunk: _judge(chunk, teacher, settings, model, spending),
        Judgement,
        total=sum(1 for _ in _items(job, CANDIDATE_COLUMNS)),
        chunk_size=settings.teacher.chunk_size,
    )
    spending.close(job)
    found = sum(job.counts["judgement"].values())
    job.conserve("candidates", expected=num_accepted, found=found)
    job.metrics["candidates_not_judged"] = len(statuses) - num_accepted
    if is_audited(settings.teacher):
        other = settings.audit.compare_with
        job.metrics["audit"] = audit.audit(_judged(job), other=Path(other) if other else None)
        if "budget_stopped" not in job.metrics.get("units_open", {}):  # else the run stops, and for that reason
            audit.check(job.metrics["audit"], settings.audit, where=job.name)


def estimate(job: Job) -> dict[str, Any] | None:
    """What judging the prompts without judgements takes in questions and money; None where no endpoint is asked."""
    settings: JudgeSettings = job.settings
    if not asks(settings.teacher):
        return None
    teacher = registry.load(TEACHERS, settings.teacher.teacher, kind="teacher")
    items = (unit.item for unit in missing(job, _units(job, None), Judgement))
    return estimated(teacher.questions(items, settings.teacher))


def _judged(job: Job) -> Iterator[tuple[list[Judgement], dict[str, int]]]:
    """The judgements of each prompt, with the lengths of its answers."""
    groups = by_prompt(read_records(job.path / f"{table_name(Judgement)}.parquet", Judgement))
    for (prompt, candidates), (prompt_id, judgements) in zip(_items(job, CANDIDATE_COLUMNS), groups, strict=True):
        assert prompt.prompt_id == prompt_id, f"{prompt.prompt_id} is judged as {prompt_id}"
        yield judgements, {c.candidate_id: len(c.text) for c in candidates}


def _items(job: Job, columns: list[str] | None) -> Iterator[Item]:
    """Every prompt that has candidates to be judged, with these."""
    prompts = (p for p in job.input("prompts").records(Prompt) if p.status == "ok")
    candidates = job.input("candidates").records(Candidate, columns=columns)
    for prompt, found in join(prompts, candidates):
        judged = [c for c in found if c.status in JUDGED]
        if judged:
            yield prompt, judged


def _units(job: Job, model: LazyModel | None) -> Iterator[Unit[Item]]:
    settings: JudgeSettings = job.settings
    identity = model.identity if model else None
    parts = [key_of(settings.teacher), key_of(settings.task), identity, _of_teacher(settings.teacher)]
    start = canonical(parts).decode()
    for item in _items(job, None if model else CANDIDATE_COLUMNS):
        yield Unit(_row_key(start, item), item)


def _row_key(start: str, item: Item) -> str:
    prompt, candidates = item
    turns = [[m.role, m.content] for m in prompt.messages or ()]
    gold = canonical([prompt.label, prompt.answers, prompt.text, prompt.reference, turns]).decode()
    parts = (part for c in candidates for part in (c.candidate_id, c.text, str(c.logprob_sum), str(c.model_digest)))
    return text_digest(start, prompt.prompt_id, gold, *parts)


def _judge(
    chunk: list[Item], teacher: ModuleType, settings: JudgeSettings, model: LazyModel | None, spending: Spending
) -> list[list[Judgement]]:
    loaded = model.loaded if model else None
    with spending.of_this_thread():
        results: list[list[Any]] = list(teacher.judge(chunk, settings.teacher, settings.task, loaded))
    for (prompt, candidates), judgements in zip(chunk, results, strict=True):
        asked, answered = [c.candidate_id for c in candidates], [j.candidate_id for j in judgements]
        assert asked == answered, f"prompt {prompt.prompt_id}: judged {answered} instead of {asked}"
    return results


STAGE = Stage(
    name="judge",
    run=run,
    modules=("stages.judge", "stages.grading", "stages.joins", "stages.loaded", "data.text", "pipeline.rows"),
)
MODEL_MODULES = (
    "stages.tokens",
    "stages.batch",
    "stages.forward",
    "stages.layout",
    "stages.attention",
    "stages.head",
    "stages.models",
)
"""What else decides the result of a teacher with a model."""


def needs_model(settings: Any) -> bool:
    return registry.load(TEACHERS, settings.teacher, kind="teacher").NEEDS_MODEL


def asks(settings: Any) -> bool:
    """Whether the teacher asks a chat endpoint."""
    return hasattr(registry.load(TEACHERS, settings.teacher, kind="teacher"), "questions")


def is_audited(settings: Any) -> bool:
    """A rule needs none: it says the same whatever stands beside an answer."""
    return settings.teacher != "rule"


def plugs(settings: Any) -> tuple[str, ...]:
    """The modules, beside the stage's own, that decide what this teacher says."""
    teacher = registry.load(TEACHERS, settings.teacher, kind="teacher")
    return (
        *registry.family(TEACHERS, settings.teacher),
        *(MODEL_MODULES if teacher.NEEDS_MODEL else ()),
        *getattr(teacher, "MODULES", ()),
        *(("stages.audit",) if is_audited(settings) else ()),
    )


def _of_teacher(settings: Any) -> dict[str, str]:
    teacher = registry.load(TEACHERS, settings.teacher, kind="teacher")
    return teacher.external(settings) if hasattr(teacher, "external") else {}
