"""The way of each question to its reply: looked up, paid for, let through, sent, and sent again."""

import asyncio
import random
from collections.abc import Callable, Iterable
from functools import partial

from data.errors import InputError
from stages.chat_budget import Budget, Ledger
from stages.chat_cache import Cache, cache_path
from stages.chat_endpoint import Endpoint, Outcome
from stages.chat_limits import Gate, Ticket
from stages.chat_reply import Reply
from stages.chat_request import Request, Sending
from stages.chat_settings import ChatSettings

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a retry, at most
STOPPED = (Reply(text="", status="budget_stopped", error="asking it might have passed budget_usd"),)
# Its own generator: asking must not move the one that others draw their samples from.
jitter = random.Random()

Replies = tuple[Reply, ...]
"""As many as a request asks for; or one that says why there is none."""

Put = Callable[[tuple[int, Replies]], None]


class Questions:
    """One call's questions; everything that needs the event loop is made in `answer`."""

    def __init__(self, settings: ChatSettings, ledger: Ledger):
        self._settings, self._ledger = settings, ledger

    async def answer(self, requests: Iterable[Request], put: Put) -> None:
        """Puts (index, replies) of each request as soon as they are known. Raises InputError, perhaps in a group."""
        self._budget = Budget(self._settings, self._ledger)
        self._endpoint = Endpoint(self._settings)
        self._gate = Gate(self._settings)
        self._cache = Cache(cache_path(self._settings))
        try:
            async with asyncio.TaskGroup() as group:
                await self._start_all(group, requests, put)
        finally:
            self._cache.close()
            await self._endpoint.close()

    async def _start_all(self, group: asyncio.TaskGroup, requests: Iterable[Request], put: Put) -> None:
        replies: dict[str, asyncio.Future[Replies]] = {}
        for index, request in enumerate(requests):
            sending = Sending.of(request, self._settings, self._endpoint.url)
            if sending.key in replies:
                self._ledger.repeated += 1
            else:
                replies[sending.key] = await self._start(group, sending)
            replies[sending.key].add_done_callback(partial(self._deliver, index, put))
            await asyncio.sleep(0)  # a long row of cached questions must not hold up those under way

    async def _start(self, group: asyncio.TaskGroup, sending: Sending) -> asyncio.Future[Replies]:
        """Waits until the question is asked, not until it is answered: so few are under way, and in order."""
        replies = self._cache.get(sending.key, sending.wanted.num)
        if replies is not None:
            self._ledger.cached += 1
        elif self._budget.stopped or (ticket := await self._admit(sending)) is None:
            replies = STOPPED
        else:
            return group.create_task(self._answer(sending, ticket))
        known = asyncio.get_running_loop().create_future()
        known.set_result(replies)
        return known

    async def _admit(self, sending: Sending) -> Ticket | None:
        """Before every try; None when there is no money for it."""
        ticket = await self._gate.enter(sending.estimate.tokens)
        if self._budget.reserve(sending.estimate):
            return ticket
        self._gate.leave(ticket, Outcome())
        return None

    async def _answer(self, sending: Sending, ticket: Ticket) -> Replies:
        try:
            async with asyncio.timeout(self._settings.deadline):
                return await self._tries(sending, ticket)
        except TimeoutError:
            return failed(f"no answer by the deadline of {self._settings.deadline:g} s")

    async def _tries(self, sending: Sending, ticket: Ticket) -> Replies:
        outcome, tried = await self._once(sending, ticket), 1
        while not outcome.replies and outcome.again and tried <= self._settings.max_retries:
            await asyncio.sleep(_pause(tried, outcome))
            if (again := await self._admit(sending)) is None:
                return STOPPED
            self._ledger.retries += 1
            outcome, tried = await self._once(sending, again), tried + 1
        if not outcome.again:
            raise InputError(outcome.error)
        return outcome.replies or failed(f"{outcome.error}; asked {tried} times")

    async def _once(self, sending: Sending, ticket: Ticket) -> Outcome:
        """One try. The replies are in the cache before anything can stop them from being used."""
        self._ledger.requests += 1
        outcome = Outcome(error="cancelled", may_cost=True)
        try:
            outcome = await self._endpoint.send(sending.body, sending.wanted)
            if outcome.replies:
                self._cache.put(sending.key, outcome.replies, outcome.usage)
            return outcome
        finally:
            self._gate.leave(ticket, outcome)
            self._budget.settle(sending.estimate, outcome)

    def _deliver(self, index: int, put: Put, answered: asyncio.Future[Replies]) -> None:
        if not answered.cancelled() and answered.exception() is None:
            self._ledger.by_status.update(reply.status for reply in answered.result())
            put((index, answered.result()))


def failed(error: str) -> Replies:
    return (Reply(text="", status="failed", error=error),)


def _pause(tried: int, outcome: Outcome) -> float:
    """Full jitter: anything up to a limit that doubles with each try; no less than the server asks."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tried - 1))
    return max(outcome.retry_after, jitter.uniform(0.0, longest))
