"""What one teacher is asked, prompt by prompt, and under which keys its judgements are kept."""

from collections.abc import Iterable, Iterator
from typing import Any

from hasse.data.joins import CANDIDATE_COLUMNS, join
from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import key_of
from hasse.pipeline.fingerprint import canonical
from hasse.pipeline.row_chunks import Keys, Unit
from hasse.pipeline.rows import Remembered
from hasse.pipeline.stage import Job
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import traits as teacher_traits
from hasse.stages.judge.traits import module_of
from hasse.stages.models.lazy import LazyModel

PromptCandidates = tuple[Prompt, list[Candidate]]

JUDGED = {"ok", "truncated"}
"""Statuses of candidates that are judged: an answer that was cut off is judged as it stands."""
NOT_JUDGED = {"refused", "unparsable", "filtered", "duplicate", "budget_stopped", "failed"}
"""Statuses of candidates that no judge is asked about. A status in neither set makes the judge stage fail."""


def units_of(
    job: Job, teacher: Any, model: LazyModel | None, *, repeat: int, chosen: set[str] | None
) -> Iterator[Unit[PromptCandidates]]:
    """The prompts with their row keys: all that decides what this teacher says of them, and the task."""
    identity = model.identity if model else None
    others = [key_of(job.settings.task), identity, teacher_traits.external(teacher)]
    keys = Keys.of(key_of(teacher), *others, *([repeat] if repeat else []))
    columns = None if teacher_traits.needs_tokens(teacher) else CANDIDATE_COLUMNS
    for item in items_of(job, columns, chosen):
        yield keys.unit(item, *_decides(item))


def items_of(job: Job, columns: list[str] | None, chosen: set[str] | None = None) -> Iterator[PromptCandidates]:
    """Every prompt that has candidates to be judged, with these; of those chosen, if given."""
    prompts = (p for p in job.input("prompts").records(Prompt) if p.status == "ok")
    candidates = job.input("candidates").records(Candidate, columns=columns)
    for prompt, found in join(prompts, candidates):
        judged = [c for c in found if c.status in JUDGED]
        if judged and (chosen is None or prompt.prompt_id in chosen):
            yield prompt, judged


def _decides(item: PromptCandidates) -> list[str]:
    prompt, candidates = item
    turns = [[m.role, m.content] for m in prompt.messages or ()]
    gold = canonical([prompt.label, prompt.answers, prompt.text, prompt.reference, turns]).decode()
    parts = (part for c in candidates for part in (c.candidate_id, c.text, str(c.logprob_sum), str(c.model_digest)))
    return [prompt.prompt_id, gold, *parts]


def judge_all(
    items: Iterable[PromptCandidates],
    teacher: Any,
    task: TaskSettings,
    model: LazyModel | None,
    options: dict[str, Any],
) -> Iterator[list[Judgement]]:
    """The judgements of each prompt, in the order of the prompts. options: of the teacher's `judge`."""
    drawn = Remembered(items)
    given = drawn if teacher_traits.asks(teacher) else list(drawn)
    for judgements in module_of(teacher).judge(given, teacher, task, model, **options):
        prompt, candidates = drawn.oldest()
        asked, answered = [c.candidate_id for c in candidates], [j.candidate_id for j in judgements]
        assert asked == answered, f"prompt {prompt.prompt_id}: judged {answered} instead of {asked}"
        yield judgements
