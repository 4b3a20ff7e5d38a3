"""Teacher `openai`: a chat model behind an endpoint judges all answers to a prompt in one question."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from data.records import Candidate, Judgement, Prompt
from pipeline.fingerprint import canonical
from stages import panel, panel_settings
from stages.chat import ChatSettings, Reply, ask
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


def _replies(questions: Sequence[Question[Any]], *, settings: Settings, repeat: int) -> list[Reply]:
    """A schema holds for a whole call of the client, so questions of one schema are asked together."""
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        places[canonical(question.schema) if settings.structured == "json_schema" else b""].append(place)
    found: dict[int, Reply] = {}
    for part in places.values():
        schema = questions[part[0]].schema if settings.structured == "json_schema" else None
        asked = [(SYSTEM, questions[place].text) for place in part]
        found |= zip(part, ask(asked, settings.chat, schema=schema, repeat=repeat), strict=True)
    return [found[place] for place in range(len(questions))]
