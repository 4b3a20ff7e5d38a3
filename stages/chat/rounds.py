"""Hold conversations in rounds, by batches: what all ask first goes together, then what all ask next."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hasse.stages.chat.batches import Batches
from hasse.stages.chat.call import FIRST_LOOK, PendingReplies, opened
from hasse.stages.chat.event_loop import Put
from hasse.stages.chat.money.budget import Payer
from hasse.stages.chat.request import Conversation, Request
from hasse.stages.chat.settings import ChatSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

T = TypeVar("T")


async def hold(conversations: Iterable[Conversation[T]], settings: ChatSettings, payer: Payer, put: Put[T]) -> None:
    """Put the result of each conversation as soon as it has ended. Raises InputError, perhaps in an exception group."""
    async with opened(settings, payer) as call, asyncio.TaskGroup() as group:
        batches = Batches(call)

        def ask(request: Request) -> PendingReplies:
            sending = call.sending(request)
            return call.known(sending) or call.remember(sending, group.create_task(batches.answer(sending)))

        talks = [_Talk(index, conversation, put) for index, conversation in enumerate(conversations)]
        while talks := [talk for talk in talks if not talk.is_answered or talk.go_on(ask)]:
            await asyncio.sleep(0)  # now every question waits for a batch, for another process, or for nothing
            if any(talk.is_answered for talk in talks):
                continue
            await (batches.round() if batches.waiting else asyncio.sleep(FIRST_LOOK))
            await asyncio.sleep(0)  # now every question that the batches answered has its replies


@dataclass(slots=True)
class _Talk(Generic[T]):
    index: int
    conversation: Conversation[T]
    put: Put[T]
    answers: list[PendingReplies] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether all questions of the last step are answered; also true before the first step."""
        return all(answer.done() for answer in self.answers or [])

    def go_on(self, ask: Callable[[Request], PendingReplies]) -> bool:
        """Take the next step and ask its questions. False at the end of the conversation."""
        replies = None if self.answers is None else [answer.result() for answer in self.answers]
        try:
            self.answers = [ask(request) for request in self.conversation.send(replies)]  # type: ignore[arg-type]
        except StopIteration as end:
            self.put((self.index, end.value))
            return False
        return True
