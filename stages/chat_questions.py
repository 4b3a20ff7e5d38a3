"""The way of each question to its reply: looked up, paid for, let through, sent, and sent again."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from data.errors import InputError
from pipeline.fingerprint import digest
from stages.chat_budget import Budget, Estimate, Ledger
from stages.chat_cache import Cache, cache_path
from stages.chat_endpoint import Endpoint, Outcome
from stages.chat_limits import Gate, Ticket
from stages.chat_reply import Reply
from stages.chat_settings import ChatSettings

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a retry, at most
STOPPED = Reply(text="", status="budget_stopped", error="asking it might have passed budget_usd")
# Its own generator: asking must not move the one that others draw their samples from.
jitter = random.Random()

Put = Callable[[tuple[int, Reply]], None]


@dataclass(frozen=True, slots=True)
class _Request:
    key: str
    body: dict[str, Any]
    estimate: Estimate


class Questions:
    """One call's questions; everything that needs the event loop is made in `answer`."""

    def __init__(self, settings: ChatSettings, schema: dict[str, Any] | None, ledger: Ledger):
        self._settings, self._schema, self._ledger = settings, schema, ledger

    async def answer(self, questions: Sequence[tuple[str, str]], put: Put) -> None:
        """Puts (index, reply) of each question as soon as it is known. Raises InputError, perhaps in a group."""
        self._budget = Budget(self._settings, self._ledger)
        self._endpoint = Endpoint(self._settings)
        self._gate = Gate(self._settings)
        self._cache = Cache(cache_path(self._settings))
        try:
            async with asyncio.TaskGroup() as group:
                await self._start_all(group, questions, put)
        finally:
            self._cache.close()
            await self._endpoint.close()

    async def _start_all(self, group: asyncio.TaskGroup, questions: Sequence[tuple[str, str]], put: Put) -> None:
        replies: dict[str, asyncio.Future[Reply]] = {}
        for index, question in enumerate(questions):
            request = self._request(question)
            if request.key in replies:
                self._ledger.add(repeated=1)
            else:
                replies[request.key] = await self._start(group, request)
            replies[request.key].add_done_callback(partial(self._deliver, index, put))
            await asyncio.sleep(0)  # a long row of cached questions must not hold up those under way

    def _request(self, question: tuple[str, str]) -> _Request:
        system, user = question
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "temperature": self._settings.temperature,
            "max_completion_tokens": self._settings.max_tokens,
        }
        if self._schema is not None:
            fitting = {"name": "answer", "strict": True, "schema": self._schema}
            body["response_format"] = {"type": "json_schema", "json_schema": fitting}
        key = digest({"base_url": self._endpoint.url, "body": body})
        return _Request(key, body, Estimate.of_question(question, self._schema, self._settings))

    async def _start(self, group: asyncio.TaskGroup, request: _Request) -> asyncio.Future[Reply]:
        """Waits until the question is asked, not until it is answered: so few are under way, and in order."""
        reply = self._cache.get(request.key)
        if reply is not None:
            self._ledger.add(cached=1)
        elif self._budget.stopped or (ticket := await self._admit(request)) is None:
            reply = STOPPED
        else:
            return group.create_task(self._answer(request, ticket))
        known = asyncio.get_running_loop().create_future()
        known.set_result(reply)
        return known

    async def _admit(self, request: _Request, *, again: bool = False) -> Ticket | None:
        """Before every try; None when there is no money for it."""
        ticket = await self._gate.enter(request.estimate.tokens)
        if self._budget.reserve(request.estimate, again=again):
            return ticket
        self._gate.leave(ticket, Outcome())
        return None

    async def _answer(self, request: _Request, ticket: Ticket) -> Reply:
        try:
            async with asyncio.timeout(self._settings.deadline):
                return await self._tries(request, ticket)
        except TimeoutError:
            return Reply(text="", status="failed", error=f"no answer by the deadline of {self._settings.deadline:g} s")

    async def _tries(self, request: _Request, ticket: Ticket) -> Reply:
        outcome, tried = await self._once(request, ticket), 1
        while outcome.reply is None and outcome.again and tried <= self._settings.max_retries:
            await asyncio.sleep(_pause(tried, outcome))
            if (admitted := await self._admit(request, again=True)) is None:
                return STOPPED
            outcome, tried = await self._once(request, admitted), tried + 1
        if not outcome.again:
            raise InputError(outcome.error)
        return outcome.reply or Reply(text="", status="failed", error=f"{outcome.error}; asked {tried} times")

    async def _once(self, request: _Request, ticket: Ticket) -> Outcome:
        """One try. The reply is in the cache before anything can stop it from being used."""
        outcome = Outcome(error="cancelled", may_cost=True)
        try:
            outcome = await self._endpoint.send(request.body)
            if outcome.reply is not None:
                self._cache.put(request.key, outcome.reply, outcome.usage)
            return outcome
        finally:
            self._gate.leave(ticket, outcome)
            self._budget.settle(request.estimate, outcome)

    def _deliver(self, index: int, put: Put, answered: asyncio.Future[Reply]) -> None:
        if not answered.cancelled() and answered.exception() is None:
            self._ledger.by_status[answered.result().status] += 1
            put((index, answered.result()))


def _pause(tried: int, outcome: Outcome) -> float:
    """Full jitter: anything up to a limit that doubles with each try; no less than the server asks."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tried - 1))
    return max(outcome.retry_after, jitter.uniform(0.0, longest))
