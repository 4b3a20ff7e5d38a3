"""Annotator `chat`: a chat model says whether an answer is right, why, and what would have been right."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from data.config import Config
from data.records import Feedback
from data.text import short_digest
from stages.chat import ChatSettings, Reply, ask
from stages.chat_estimate import Planned
from stages.chat_request import question
from stages.feedback_items import RIGHT, WRONG, Item, right_answer
from stages.grading import TaskSettings

KIND = "ai"

SYSTEM = (
    "You give feedback on answers. Start with the line 'Verdict: right' or 'Verdict: wrong'. Then say in one to three "
    "sentences, to the one who answered, why; and if the answer is wrong, name the right answer in its own words."
)
USER = (
    "The question:\n{prompt}\n\nThe right answer, which only you know:\n{right_answer}\n\n"
    "The answer to judge:\n{answer}"
)


class Settings(Config):
    annotator: Literal["chat"] = "chat"
    chat: ChatSettings = Field(description="Which model is asked.")
    system: str = Field(default=SYSTEM, description="What the annotator is told first.")


def annotate(items: Sequence[Item], settings: Settings, task: TaskSettings) -> Iterator[Feedback]:
    """A reply without a verdict is `unparsable`, never guessed."""
    asked = [_question(item, settings, task) for item in items]
    version = short_digest(settings.system, USER)
    for item, reply in zip(items, ask(asked, settings.chat), strict=True):
        yield _feedback(item, reply, settings, version)


def questions(items: Iterable[Item], settings: Settings, task: TaskSettings) -> Iterator[Planned]:
    """One an item."""
    for item in items:
        system, user = _question(item, settings, task)
        yield Planned(request=question(system, user, None), chat=settings.chat)


def _question(item: Item, settings: Settings, task: TaskSettings) -> tuple[str, str]:
    right = right_answer(item.prompt, task)
    return settings.system, USER.format(prompt=item.prompt.text, right_answer=right, answer=item.candidate.text)


def _feedback(item: Item, reply: Reply, settings: Settings, version: str) -> Feedback:
    stated = re.match(r"\s*verdict:\s*(right|wrong)\b[.:]?\s*", reply.text, re.IGNORECASE)
    status, error = reply.status, reply.error
    if status == "ok" and stated is None:
        status, error = "unparsable", "the reply does not start with a verdict"
    verdict = None if stated is None else RIGHT if stated[1].lower() == "right" else WRONG
    said = reply.text[stated.end() :].strip() if stated else reply.text.strip()
    return Feedback(
        prompt_id=item.prompt.prompt_id,
        candidate_id=item.candidate.candidate_id,
        text=f"The answer is {verdict}. {said}" if verdict else said,
        verdict=verdict,
        annotator=KIND,
        annotator_id=settings.chat.model,
        model=settings.chat.model,
        prompt_version=version,
        status=status,  # type: ignore[arg-type]  one of the statuses
        error=error,
    )
