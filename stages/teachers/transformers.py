"""Teacher `transformers`: the recipe's teacher model, loaded here, judges all answers to a prompt in one question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from data.config import unkeyed
from data.records import Candidate, Judgement, Prompt
from stages import local_chat, panel, panel_settings
from stages.chat_reply import Reply
from stages.grading import TaskSettings
from stages.json_replies import Question
from stages.local_chat import Asked, LocalChatSettings

if TYPE_CHECKING:
    from stages.loaded import LazyModel

NEEDS_MODEL = True
REPEATS = True
MODULES = (*panel.MODULES, *local_chat.MODULES, "stages.samplers.transformers")
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
    replies = partial(_replies, settings=settings, model=model, repeat=repeat)
    yield from panel.judge(items, settings, task, teacher="transformers", replies=replies)


def _replies(questions: Sequence[Question[Any]], *, settings: Settings, model: LazyModel, repeat: int) -> list[Reply]:
    writes = partial(_written, settings=settings, model=model)
    return local_chat.replies(
        questions, settings, tokenizer=model.tokenizer, context=model.context, repeat=repeat, writes=writes
    )


def _written(asked: list[Asked], *, settings: Settings, model: LazyModel) -> list[tuple[str, str | None]]:
    from stages.samplers.transformers import generate

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
