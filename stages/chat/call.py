"""The state that the questions of one call share: settings, ledger, budget, endpoint and cache."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial

from hasse.data.errors import InputError
from hasse.stages.chat.cache.replies import KEPT, Cache
from hasse.stages.chat.http.endpoint import Endpoint
from hasse.stages.chat.money.budget import Budget, Ledger, Payer
from hasse.stages.chat.reply import Replies, Reply
from hasse.stages.chat.request import Request, Sending
from hasse.stages.chat.settings import VARIABLE, ChatSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0
"""Seconds between two looks for a reply that another process is asking for: at first, and at most."""

PendingReplies = asyncio.Future[Replies]


@dataclass(slots=True, kw_only=True)
class Call:
    """`answers`: of the questions that this call has asked, by key, unless the cache keeps them."""

    settings: ChatSettings
    ledger: Ledger
    budget: Budget
    endpoint: Endpoint
    cache: Cache
    answers: dict[str, PendingReplies] = field(default_factory=dict)

    def sending(self, request: Request) -> Sending:
        return Sending.of(request, self.settings, self.endpoint.url)

    def known(self, sending: Sending) -> PendingReplies | None:
        """The answer from the cache, or of an equal question of this call; None for a question that must be asked."""
        if (answer := self.answers.get(sending.key)) is not None:
            self.ledger.add(repeated=1)
        elif len(replies := self.cache.get(sending.key, sending.wanted.num)) == sending.wanted.num:
            self.ledger.add(cached=1)
            answer = asyncio.get_running_loop().create_future()
            answer.set_result(replies)
        else:
            return None
        answer.add_done_callback(self._count)
        return answer

    def remember(self, sending: Sending, answer: PendingReplies) -> PendingReplies:
        """Keep the answer of a question that is being asked, for equal questions of this call."""
        self.answers[sending.key] = answer
        answer.add_done_callback(partial(self._forget, sending.key))
        answer.add_done_callback(self._count)
        return answer

    @asynccontextmanager
    async def claimed(self, sending: Sending, waits: asyncio.Event | None = None) -> AsyncIterator[list[Reply]]:
        """Hold the claim to a question, so that no other process asks it; yield the replies that the cache has by then.

        Where another process asks the question now, this sets `waits` and waits until that process has its reply or
        has given up.
        """
        pause = FIRST_LOOK
        while not self.cache.claim(sending.key):
            if waits is not None:
                waits.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)
        try:
            replies = self.cache.get(sending.key, sending.wanted.num)
            if len(replies) == sending.wanted.num:
                self.ledger.add(cached=1)
            yield list(replies)
        finally:
            self.cache.release(sending.key)

    def _forget(self, key: str, answer: PendingReplies) -> None:
        """An answer that the cache keeps need not be remembered."""
        if self.cache.is_kept and _is_answered(answer) and all(reply.status in KEPT for reply in answer.result()):
            del self.answers[key]

    def _count(self, answer: PendingReplies) -> None:
        if _is_answered(answer):
            self.ledger.by_status.update(reply.status for reply in answer.result())


@asynccontextmanager
async def opened(settings: ChatSettings, payer: Payer) -> AsyncIterator[Call]:
    """Open the endpoint and the cache for one call, in a running event loop.

    Raises InputError for a missing key or price, and for a call by batches without a cache.
    """
    ledger = payer.ledger(settings.model)
    budget, endpoint = Budget(settings, ledger), Endpoint(settings)
    try:
        with closing(_cache(settings, payer)) as cache:
            yield Call(settings=settings, ledger=ledger, budget=budget, endpoint=endpoint, cache=cache)
    finally:
        await endpoint.close()


def _cache(settings: ChatSettings, payer: Payer) -> Cache:
    """The cache that the settings name, else the payer's."""
    path = settings.cache_path or payer.replies
    if path is None and settings.batch:
        raise InputError(
            f"batch: without a cache a run that is stopped would pay twice; name a file by `cache` or {VARIABLE}"
        )
    return Cache(path, not_before=payer.not_before)


def _is_answered(answer: PendingReplies) -> bool:
    return not answer.cancelled() and answer.exception() is None
