"""Annotator `chat`: a chat model says whether an answer is right, why, and which answer would be right."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from hasse.data.records import Feedback
from hasse.data.rendering import prompt_as_text
from hasse.data.settings import Config
from hasse.data.text import short_digest
from hasse.data.thinking import split_thinking
from hasse.stages.chat.ask import converse
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.money.estimate import Planned
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.request import Conversation, Request, question
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.feedback.items import RIGHT, WRONG, AnnotationItem, right_answer
from hasse.stages.grading import TaskSettings

KIND = "ai"


SYSTEM = (
    "You give feedback on answers. Start with the line 'Verdict: right' or 'Verdict: wrong'. Then say in one to three "
    "sentences, to the one who answered, why; and if the answer is wrong, name the right answer in its own words."
)
USER = (
    "The question:\n{prompt}\n\nThe right answer, which only you know:\n{right_answer}\n\n"
    "The answer to judge:\n{answer}"
)
VERDICT = re.compile(
    r"[\s*_#>`]*verdict[*_]*\s*[:\uff1a][\s*_\"']*(right|wrong)\b(?!\s*(?:or|/))"
    r"(?![^\w.:;(\n]*(?:(?:and|but|also|no|wait|actually|or)\b[^\w.:;(\n]*)*(?:right|wrong)\b)[*_\"'`]*[.:]?[*_]*\s*",
    re.IGNORECASE,
)
"""The verdict at the beginning of a reply. A reply that takes it back at once (wrong - no, right) has none."""


class Settings(Config):
    annotator: Literal["chat"] = "chat"
    chat: ChatSettings = Field(description="The chat model that is asked.")
    system: str = Field(default=SYSTEM, description="The system message for the annotator.")


def annotate(
    items: Iterable[AnnotationItem], settings: Settings, task: TaskSettings, *, payer: Payer
) -> Iterator[Feedback]:
    """The feedback on each item; a reply without a verdict is `unparsable`, for a verdict is never guessed."""
    version = short_digest(settings.system, USER)
    yield from converse((_conversation(item, settings, task, version) for item in items), settings.chat, payer=payer)


def questions(items: Iterable[AnnotationItem], settings: Settings, task: TaskSettings) -> Iterator[Planned]:
    """One question for each item."""
    for item in items:
        yield Planned(request=_request(item, settings, task), chat=settings.chat)


def _conversation(item: AnnotationItem, settings: Settings, task: TaskSettings, version: str) -> Conversation[Feedback]:
    ((reply,),) = yield [_request(item, settings, task)]
    return _feedback(item, reply, settings, version)


def _request(item: AnnotationItem, settings: Settings, task: TaskSettings) -> Request:
    right = right_answer(item.prompt, task)
    user = USER.format(prompt=prompt_as_text(item.prompt), right_answer=right, answer=item.candidate.text)
    return question(settings.system, user, None)


def _feedback(item: AnnotationItem, reply: Reply, settings: Settings, version: str) -> Feedback:
    text = split_thinking(reply.text).answer
    stated = VERDICT.match(text)
    status, error = reply.status, reply.error
    if status == "ok" and stated is None:
        status, error = "unparsable", "the reply does not start with a verdict"
    verdict = None if stated is None else RIGHT if stated[1].lower() == "right" else WRONG
    comment = text[stated.end() :].strip() if stated else text.strip()
    return Feedback(
        prompt_id=item.prompt.prompt_id,
        candidate_id=item.candidate.candidate_id,
        text=f"The answer is {verdict}. {comment}" if verdict else comment,
        verdict=verdict,
        annotator=KIND,
        annotator_id=settings.chat.model,
        model=settings.chat.model,
        prompt_version=version,
        status=status,  # type: ignore[arg-type]  one of the statuses
        error=error,
    )
