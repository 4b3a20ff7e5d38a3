"""Teacher `reward_model`: a model with a scalar head scores each answer on its own.

The model is a sequence classifier with one label. It reads prompt and answer as a finished conversation through its
chat template, or as a pair of texts where its tokenizer has no template.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Config, unkeyed
from hasse.pipeline.fingerprint import model_digests
from hasse.stages.grading import TaskSettings, stated
from hasse.stages.models.model_folders import check_weights, locate, read_config

if TYPE_CHECKING:
    from hasse.stages.models.scalar_head import ScalarModel

NEEDS_MODEL = False
IN_CHILD = True


class Settings(Config):
    teacher: Literal["reward_model"] = "reward_model"
    model: str = unkeyed(description="A hub name or a local folder; its content enters the key.")
    revision: str | None = unkeyed(None, description="Branch, tag or commit on the hub.")
    micro_batch_tokens: int = unkeyed(16384, ge=1, description="Padded tokens at a time; memory only.")
    chunk_size: int = unkeyed(500, ge=1, description="Prompts between two commits to the store.")


def external(settings: Settings) -> dict[str, str]:
    """Digests of weights, tokenizer and chat template. Raises InputError when there is no such model."""
    folder = locate(settings.model, revision=settings.revision)
    read_config(folder)
    check_weights(folder)
    return model_digests(folder)


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]], settings: Settings, task: TaskSettings, model: None
) -> Iterator[list[Judgement]]:
    """One judgement for each candidate; the total is the score, in the model's own units."""
    scalar = _load(locate(settings.model, revision=settings.revision))
    texts = [scalar.encode(prompt, candidate.text) for prompt, candidates in items for candidate in candidates]
    scores = iter(scalar.scores(texts, micro_batch_tokens=settings.micro_batch_tokens))
    for prompt, candidates in items:
        yield [_judgement(prompt, candidate, next(scores), task) for candidate in candidates]


def close() -> None:
    """Free the memory of the model."""
    _load.cache_clear()


@lru_cache(maxsize=1)
def _load(folder: Path) -> ScalarModel:
    from hasse.stages.models.scalar_head import load

    return load(folder)


def _judgement(prompt: Prompt, candidate: Candidate, score: float | None, task: TaskSettings) -> Judgement:
    label, correct = stated(candidate.text, prompt, task)
    status, error = "ok", None
    if score is None:
        status, error = "filtered", "prompt and answer do not fit into the reward model's context"
    elif not math.isfinite(score):
        score, status, error = None, "failed", f"the reward model gives {score}"
    return Judgement(
        prompt_id=candidate.prompt_id,
        candidate_id=candidate.candidate_id,
        teacher="reward_model",
        total=score,
        label=label,
        correct=correct,
        status=status,
        error=error,
    )
