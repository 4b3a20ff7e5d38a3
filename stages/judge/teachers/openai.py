"""Teacher `openai`: a chat model behind an endpoint judges all answers to a prompt in one question."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import Field

from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import unkeyed
from hasse.stages.chat.ask import converse
from hasse.stages.chat.json_replies import SYSTEM, Question, Structured, Talk
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.request import Conversation, Request, question
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import panel, panel_settings
from hasse.stages.judge.panel_settings import PanelSettings

NEEDS_MODEL = False
REPEATS = True

external = panel_settings.external


class Settings(PanelSettings):
    teacher: Literal["openai"] = "openai"
    chat: ChatSettings = Field(
        description="The model that is asked; max_tokens must leave room for the judgement of all candidates."
    )
    chunk_size: int = unkeyed(100, ge=1, description="Prompts between two commits; replies are kept one by one anyway.")
    structured: Structured = Field(
        default="json_schema",
        description="json_schema: the endpoint enforces a schema of the reply; text: for servers that cannot.",
    )


def judge(
    items: Iterable[tuple[Prompt, list[Candidate]]],
    settings: Settings,
    task: TaskSettings,
    model: None,
    *,
    payer: Payer,
    repeat: int = 0,
) -> Iterator[list[Judgement]]:
    """The judgements of each prompt; items may be a stream, which is read as fast as questions may be sent."""
    talks = (panel.conversation(*item, settings, task, teacher="openai") for item in items)
    yield from converse((_sent(talk, settings, repeat) for talk in talks), settings.chat, payer=payer)


def questions(items: Iterable[tuple[Prompt, list[Candidate]]], settings: Settings) -> Iterator[Planned]:
    for asked, is_certain in panel.questions(items, settings):
        yield Planned(request=_request(asked, settings), chat=settings.chat, sure=is_certain)


def _sent(talk: Talk[list[Judgement]], settings: Settings, repeat: int) -> Conversation[list[Judgement]]:
    """Turn the questions of a conversation into one request each."""
    answers = None
    while True:
        try:
            questions = talk.send(answers)  # type: ignore[arg-type]  None starts it
        except StopIteration as end:
            return end.value
        replies = yield [_request(asked, settings, repeat=repeat) for asked in questions]
        answers = [reply for (reply,) in replies]


def _request(asked: Question[Any], settings: Settings, *, repeat: int = 0) -> Request:
    schema = asked.schema if settings.structured == "json_schema" else None
    return question(SYSTEM, asked.text, schema, repeat=repeat)
