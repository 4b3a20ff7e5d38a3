"""The way of each question to its reply: paid for, let through, sent, and sent again."""

import asyncio
import random
from dataclasses import dataclass, field

from data.errors import InputError
from stages.chat_budget import Budget, Ledger
from stages.chat_cache import Cache
from stages.chat_endpoint import Endpoint, Outcome
from stages.chat_limits import Gate, Ticket
from stages.chat_reply import STOPPED, Replies, failed
from stages.chat_request import Sending
from stages.chat_settings import ChatSettings

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a retry, at most
# Its own generator: asking must not move the one that others draw their samples from.
jitter = random.Random()


@dataclass(slots=True)
class Questions:
    """One call's questions, each a request of its own."""

    settings: ChatSettings
    ledger: Ledger
    budget: Budget
    endpoint: Endpoint
    cache: Cache
    group: asyncio.TaskGroup
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.gate = Gate(self.settings)

    async def start(self, sending: Sending) -> asyncio.Future[Replies]:
        """Waits until the question is asked, not until it is answered: so few are under way, and in order."""
        if not self.budget.stopped and (ticket := await self._admit(sending)) is not None:
            return self.group.create_task(self._answer(sending, ticket))
        return known(STOPPED)

    async def _admit(self, sending: Sending, *, again: bool = False) -> Ticket | None:
        """Before every try; None when there is no money for it."""
        ticket = await self.gate.enter(sending.estimate.tokens)
        if self.budget.reserve(sending.estimate, again=again):
            return ticket
        self.gate.leave(ticket, Outcome())
        return None

    async def _answer(self, sending: Sending, ticket: Ticket) -> Replies:
        try:
            async with asyncio.timeout(self.settings.deadline):
                return await self._tries(sending, ticket)
        except TimeoutError:
            return failed(f"no answer by the deadline of {self.settings.deadline:g} s")

    async def _tries(self, sending: Sending, ticket: Ticket) -> Replies:
        outcome, tried = await self._once(sending, ticket), 1
        while not outcome.replies and outcome.again and tried <= self.settings.max_retries:
            await asyncio.sleep(pause(tried, outcome))
            if (admitted := await self._admit(sending, again=True)) is None:
                return STOPPED
            outcome, tried = await self._once(sending, admitted), tried + 1
        if not outcome.again:
            raise InputError(outcome.error)
        return outcome.replies or failed(f"{outcome.error}; asked {tried} times")

    async def _once(self, sending: Sending, ticket: Ticket) -> Outcome:
        """One try. The replies are in the cache before anything can stop them from being used."""
        outcome = Outcome(error="cancelled", may_cost=True)
        try:
            outcome = await self.endpoint.send(sending.body, sending.wanted)
            if outcome.replies:
                self.cache.put(sending.key, outcome.replies, outcome.usage)
            return outcome
        finally:
            self.gate.leave(ticket, outcome)
            self.budget.settle(sending.estimate, outcome)


def known(replies: Replies) -> asyncio.Future[Replies]:
    found = asyncio.get_running_loop().create_future()
    found.set_result(replies)
    return found


def pause(tried: int, outcome: Outcome) -> float:
    """Full jitter: anything up to a limit that doubles with each try; no less than the server asks."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tried - 1))
    return max(outcome.retry_after, jitter.uniform(0.0, longest))
