"""Teacher `transformers`: the recipe's teacher model, loaded here, judges all answers to a prompt in one question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from data.records import Candidate, Judgement, Prompt
from data.settings import unkeyed
from stages.grading import TaskSettings
from stages.judge import local_panel as local_chat
from stages.judge import panel, panel_settings
from stages.judge.local_panel import Asked, LocalChatSettings

if TYPE_CHECKING:
    from stages.models.lazy import LazyModel

NEEDS_MODEL = True
REPEATS = True
MODULES = (*panel.MODULES, *local_chat.MODULES, "stages.generate.samplers.transformers")
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
    yield from local_chat.judge(items, settings, task, model, context=model.context, repeat=repeat, writes=_written)


def _written(asked: list[Asked], settings: Settings, model: LazyModel) -> list[tuple[str, str | None]]:
    from stages.models.sample import generate

    found = generate(
        model.loaded.model,
        model.tokenizer,
        [one.token_ids for one in asked],
        [one.seed for one in asked],
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        batch_size=settings.batch_size,
    )
    return [(sampled.text, sampled.finish_reason) for sampled in found]
