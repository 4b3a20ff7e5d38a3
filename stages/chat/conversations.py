"""One call's conversations: what is asked once only, what the cache knows, and what goes one by one or by batches."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from hasse.data.errors import InputError
from hasse.stages.chat.batches import Batches
from hasse.stages.chat.cache.replies import KEPT, Cache
from hasse.stages.chat.http.endpoint import Endpoint
from hasse.stages.chat.money.budget import Budget, Ledger, Payer
from hasse.stages.chat.one_by_one import Questions, known
from hasse.stages.chat.reply import Replies
from hasse.stages.chat.request import Request, Sending
from hasse.stages.chat.settings import VARIABLE, ChatSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

T = TypeVar("T")

Conversation = Generator[Sequence[Request], Sequence[Replies], T]
"""Yields requests, is sent the replies to each, and in the end returns something."""

FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0
"""Seconds between two looks for a reply that another process is asking for."""

Answered = asyncio.Future[Replies]
Ask = Callable[[Request], Awaitable[Answered]]


@dataclass(slots=True)
class _Talk(Generic[T]):
    conversation: Conversation[T]
    ask: Ask
    ended: Callable[[T], None]
    asked: list[Answered] = field(default_factory=list)

    async def begin(self) -> bool:
        """Whether it asks anything."""
        return await self._say(None)

    async def go_on(self) -> bool:
        """Once it was answered, whether it asks more."""
        return await self._say([await one for one in self.asked])

    async def to_its_end(self) -> None:
        while await self.go_on():
            pass

    async def _say(self, replies: Any) -> bool:
        try:
            requests = self.conversation.send(replies)
        except StopIteration as end:
            self.ended(end.value)
            return False
        self.asked = [await self.ask(request) for request in requests]
        return True


@dataclass(slots=True)
class Call(Generic[T]):
    """Everything that needs the event loop is made in `hold`."""

    settings: ChatSettings
    payer: Payer
    ledger: Ledger = field(init=False)
    answered: dict[str, Answered] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.ledger = self.payer.ledger(self.settings.model)

    async def hold(self, conversations: Iterable[Conversation[T]], put: Callable[[tuple[int, T]], None]) -> None:
        """Puts (index, result) of each conversation as soon as it has ended. Raises InputError, perhaps in a group."""
        budget = Budget(self.settings, self.ledger)
        endpoint = Endpoint(self.settings)
        try:
            with closing(self._cache()) as cache:
                async with asyncio.TaskGroup() as group:
                    means = (self.settings, self.ledger, budget, endpoint, cache)
                    way = Batches(*means) if self.settings.batch else Questions(*means, group)
                    ask = partial(self._ask, _Desk(way, cache, group, endpoint.url))
                    talks = (_Talk(c, ask, lambda result, i=i: put((i, result))) for i, c in enumerate(conversations))
                    await (_in_rounds(talks, way, group) if isinstance(way, Batches) else _side_by_side(talks, group))
        finally:
            await endpoint.close()

    def _cache(self) -> Cache:
        """That of the settings, else the payer's. Raises InputError for a call by batches without any."""
        path = self.settings.cache_path or self.payer.replies
        if path is None and self.settings.batch:
            raise InputError(
                f"batch: without a cache a run that is stopped would pay twice; name a file by `cache` or {VARIABLE}"
            )
        return Cache(path, not_before=self.payer.not_before)

    async def _ask(self, desk: "_Desk", request: Request) -> Answered:
        """Returns when it is asked, not when it is answered."""
        sending = Sending.of(request, self.settings, desk.url)
        if (found := self.answered.get(sending.key)) is not None:
            self.ledger.add(repeated=1)
        elif len(replies := desk.cache.get(sending.key, sending.wanted.num)) == sending.wanted.num:
            self.ledger.add(cached=1)
            found = known(replies)
        else:
            # It stands there before it is asked: others may come with the same while it waits to be let through.
            found = self.answered[sending.key] = asyncio.get_running_loop().create_future()
            found.add_done_callback(partial(self._forget, sending.key, desk.cache))
            if desk.cache.claim(sending.key):
                await self._begin(desk, sending, found)
            else:
                desk.group.create_task(self._begin_later(desk, sending, found))
        found.add_done_callback(self._count)
        return found

    async def _begin(self, desk: "_Desk", sending: Sending, found: Answered) -> None:
        """Asks a question that is claimed, unless another has asked it just before."""
        replies = desk.cache.get(sending.key, sending.wanted.num)
        if len(replies) == sending.wanted.num:
            self.ledger.add(cached=1)
            desk.cache.release(sending.key)
            found.set_result(replies)
            return
        answered = await desk.way.start(sending, replies)
        answered.add_done_callback(lambda _: desk.cache.release(sending.key))
        answered.add_done_callback(partial(_pass_on, found))

    async def _begin_later(self, desk: "_Desk", sending: Sending, found: Answered) -> None:
        """Once whoever asks the question now has its reply, or has given up."""
        pause = FIRST_LOOK
        while not desk.cache.claim(sending.key):
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)
        await self._begin(desk, sending, found)

    def _forget(self, key: str, cache: Cache, answered: Answered) -> None:
        """What the cache knows need not be remembered."""
        if cache.is_kept and _is_answered(answered) and all(reply.status in KEPT for reply in answered.result()):
            del self.answered[key]

    def _count(self, answered: Answered) -> None:
        if _is_answered(answered):
            self.ledger.by_status.update(reply.status for reply in answered.result())


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a question goes through."""

    way: Questions | Batches
    cache: Cache
    group: asyncio.TaskGroup
    url: str


async def _side_by_side(talks: Iterable[_Talk], group: asyncio.TaskGroup) -> None:
    for talk in talks:
        if await talk.begin():
            group.create_task(talk.to_its_end())
        await asyncio.sleep(0)  # a long row of cached questions must not hold up those under way


async def _in_rounds(talks: Iterable[_Talk], batches: Batches, group: asyncio.TaskGroup) -> None:
    """What all ask first goes together, then what all ask next."""
    going = {group.create_task(talk.to_its_end()) for talk in talks if await talk.begin()}
    while going:
        if batches.has_work:
            await batches.finish()
            await asyncio.sleep(0)  # each has its turn to read what was answered, and to ask more
        else:  # what they wait for is asked by another process
            await asyncio.wait(going, timeout=FIRST_LOOK, return_when=asyncio.FIRST_COMPLETED)
        going = {task for task in going if not task.done()}


def _pass_on(to: Answered, answered: Answered) -> None:
    """Why there is no answer is told by the one who asked, and ends all."""
    if _is_answered(answered) and not to.done():
        to.set_result(answered.result())


def _is_answered(answered: Answered) -> bool:
    return not answered.cancelled() and answered.exception() is None
