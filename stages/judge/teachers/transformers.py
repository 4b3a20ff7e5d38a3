"""Teacher `transformers`: the recipe's `teacher`, loaded here, judges all answers to a prompt in one question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import unkeyed
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import local_panel, panel_settings
from hasse.stages.judge.local_panel import Asked, LocalChatSettings

if TYPE_CHECKING:
    from hasse.stages.models.lazy import LazyModel

NEEDS_MODEL = True
REPEATS = True

external = panel_settings.external


class Settings(LocalChatSettings):
    teacher: Literal["transformers"] = "transformers"
    batch_size: int = unkeyed(8, ge=1, description="Questions at a time; memory only.")


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]],
    settings: Settings,
    task: TaskSettings,
    model: LazyModel,
    *,
    repeat: int = 0,
) -> Iterator[list[Judgement]]:
    yield from local_panel.judge(items, settings, task, model, context=model.context, repeat=repeat, writes=_written)


def _written(asked: list[Asked], settings: Settings, model: LazyModel) -> list[tuple[str, str | None, str | None]]:
    from hasse.stages.models.sample import generate

    samples = generate(
        model.loaded.model,
        model.tokenizer,
        [question.token_ids for question in asked],
        [question.seed for question in asked],
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        max_thinking_tokens=settings.max_thinking_tokens,
        batch_size=settings.batch_size,
    )
    return [(sampled.text, sampled.finish_reason, sampled.reasoning) for sampled in samples]
