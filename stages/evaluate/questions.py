"""The held-out prompts that a model is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hasse.data.errors import InputError
from hasse.data.records import Prompt, TrainingExample
from hasse.pipeline.stage import Job
from hasse.stages.evaluate.settings import EvaluateSettings
from hasse.stages.prompts.held_out import prove_disjoint


@dataclass(frozen=True)
class TokenisedPrompt:
    prompt: Prompt
    token_ids: list[int]


def held_out(job: Job, settings: EvaluateSettings) -> list[Prompt]:
    """The prompts of the split, after a proof that the model was trained on none of them nor on near-duplicates.

    Raises InputError when the split is empty, or when the proof fails.
    """
    prompts = [p for p in job.input("prompts").records(Prompt) if p.status == "ok"]
    asked = [p for p in prompts if p.split == settings.split]
    if not asked:
        raise InputError(f"{job.name}: the split {settings.split!r} has no prompts; see prompts.fractions")
    trained = {e.prompt_id for a in job.inputs.get("examples", []) for e in a.records(TrainingExample)}
    prove_disjoint([p for p in prompts if p.prompt_id in trained or p.split == "pretrain"], asked)
    return asked[: settings.limit]


def tokenised(
    prompts: Sequence[Prompt], tokenizer: Any, *, max_length: int
) -> tuple[list[TokenisedPrompt], list[Prompt]]:
    """The prompts of at most `max_length` tokens, and those that are longer."""
    from hasse.stages.models.tokens import asked_token_ids

    questions = [TokenisedPrompt(p, asked_token_ids(tokenizer, p)) for p in prompts]
    too_long = [q.prompt for q in questions if len(q.token_ids) > max_length]
    return [q for q in questions if len(q.token_ids) <= max_length], too_long
