"""Teacher `openai`: a chat model behind an endpoint judges all answers to a prompt in one question."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from data.config import unkeyed
from data.records import Candidate, Judgement, Prompt
from stages import panel, panel_settings
from stages.chat import ChatSettings, Reply, complete
from stages.chat_estimate import Planned
from stages.chat_request import Request, question
from stages.grading import TaskSettings
from stages.json_replies import SYSTEM, Question, Structured
from stages.panel_settings import PanelSettings

NEEDS_MODEL = False
REPEATS = True
MODULES = panel.MODULES
external = panel_settings.external


class Settings(PanelSettings):
    teacher: Literal["openai"] = "openai"
    chat: ChatSettings = Field(
        description="Which model is asked; its max_tokens must hold the judgement of all candidates."
    )
    chunk_size: int = unkeyed(500, ge=1, description="Prompts between two commits; replies are kept one by one anyway.")
    structured: Structured = Field(
        default="json_schema",
        description="json_schema: the endpoint holds replies to a schema; text: for servers that do not know that.",
    )


def judge(
    items: Sequence[tuple[Prompt, list[Candidate]]],
    settings: Settings,
    task: TaskSettings,
    model: None,
    *,
    repeat: int = 0,
) -> Iterator[list[Judgement]]:
    replies = partial(_replies, settings=settings, repeat=repeat)
    yield from panel.judge(items, settings, task, teacher="openai", replies=replies)


def questions(items: Iterable[tuple[Prompt, list[Candidate]]], settings: Settings) -> Iterator[Planned]:
    for asked, sure in panel.questions(items, settings):
        yield Planned(request=_request(asked, settings), chat=settings.chat, sure=sure)


def _replies(questions: Sequence[Question[Any]], *, settings: Settings, repeat: int) -> list[Reply]:
    requests = (_request(asked, settings, repeat=repeat) for asked in questions)
    return [reply for (reply,) in complete(requests, settings.chat)]


def _request(asked: Question[Any], settings: Settings, *, repeat: int = 0) -> Request:
    schema = asked.schema if settings.structured == "json_schema" else None
    return question(SYSTEM, asked.text, schema, repeat=repeat)
