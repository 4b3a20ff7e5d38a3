"""The rows of the judge stage: the prompts that one teacher judges, and the keys of its judgements.

One row holds all judgements of one teacher on one prompt. Its key holds everything that decides them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from hasse.data.joins import CANDIDATE_COLUMNS, join
from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.rendering import asked_turns
from hasse.data.settings import key_of
from hasse.pipeline.fingerprint import canonical
from hasse.pipeline.row_chunks import Keys, Unit
from hasse.pipeline.rows import PendingItems
from hasse.pipeline.stage import Job
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import traits
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
    """The prompts with their row keys; only the prompts in `chosen`, if it is given.

    repeat: 0 for the first judgement of a prompt; another number makes the same question another row.
    """
    identity = model.identity if model else None
    others = [key_of(job.settings.task), identity, traits.external(teacher)]
    keys = Keys.of(key_of(teacher), *others, *([repeat] if repeat else []))
    columns = None if traits.needs_tokens(teacher) else CANDIDATE_COLUMNS
    for item in items_of(job, columns, chosen):
        yield keys.unit(item, *_key_parts(item))


def items_of(job: Job, columns: list[str] | None, chosen: set[str] | None = None) -> Iterator[PromptCandidates]:
    """Every prompt with candidates to be judged, and these candidates; only the prompts in `chosen`, if it is given."""
    prompts = (p for p in job.input("prompts").records(Prompt) if p.status == "ok")
    candidates = job.input("candidates").records(Candidate, columns=columns)
    for prompt, answers in join(prompts, candidates):
        judged = [c for c in answers if c.status in JUDGED]
        if judged and (chosen is None or prompt.prompt_id in chosen):
            yield prompt, judged


def judge_all(
    items: Iterable[PromptCandidates],
    teacher: Any,
    task: TaskSettings,
    model: LazyModel | None,
    options: dict[str, Any],
) -> Iterator[list[Judgement]]:
    """The judgements of each prompt, in the order of the prompts. options: arguments for the teacher's `judge`."""
    pending = PendingItems(items)
    given = pending if traits.asks_endpoint(teacher) else list(pending)
    for judgements in module_of(teacher).judge(given, teacher, task, model, **options):
        prompt, candidates = pending.oldest()
        asked, answered = [c.candidate_id for c in candidates], [j.candidate_id for j in judgements]
        assert asked == answered, f"prompt {prompt.prompt_id}: judged {answered} instead of {asked}"
        yield judgements


def _key_parts(item: PromptCandidates) -> list[str]:
    """The parts of prompt and candidates that can change a judgement."""
    prompt, candidates = item
    turns = [[m.role, m.content] for m in asked_turns(prompt)]
    gold = canonical([prompt.label, prompt.answers, prompt.text, prompt.reference, turns]).decode()
    parts = (part for c in candidates for part in (c.candidate_id, c.text, str(c.logprob_sum), str(c.model_digest)))
    return [prompt.prompt_id, gold, *parts]
