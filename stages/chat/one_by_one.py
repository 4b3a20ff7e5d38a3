"""The way of each question to its reply: paid for, let through, sent, and sent again."""

import asyncio
import random
from dataclasses import dataclass, field

from hasse.data.errors import InputError
from hasse.stages.chat.cache.replies import Cache
from hasse.stages.chat.http.endpoint import Endpoint, Outcome
from hasse.stages.chat.http.limits import Gate, Ticket
from hasse.stages.chat.money.budget import Budget, Ledger
from hasse.stages.chat.reply import STOPPED, Replies, Reply, failed
from hasse.stages.chat.request import Sending
from hasse.stages.chat.settings import ChatSettings

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a retry, at most
# Its own generator: asking must not move the one that others draw their samples from.
jitter = random.Random()


NEVER_USABLE = 10
"""So many questions without one usable reply to any, and all are stopped: the next would be paid for in vain too."""


@dataclass(slots=True)
class Questions:
    """One call's questions, each a request of its own, or several where the server gives fewer answers than asked for.

    Where a model costs money the first is asked alone: what its server does not heed shows by one reply.
    """

    settings: ChatSettings
    ledger: Ledger
    budget: Budget
    endpoint: Endpoint
    cache: Cache
    group: asyncio.TaskGroup
    gate: Gate = field(init=False)
    is_first: bool = field(init=False)
    num_usable: int = 0
    num_unusable: int = 0

    def __post_init__(self) -> None:
        self.gate = Gate(self.settings)
        self.is_first = not self.budget.is_free

    async def start(self, sending: Sending, have: Replies = ()) -> asyncio.Future[Replies]:
        """Waits until the question is asked, not until it is answered: so few are under way, and in order.

        have: answers that are there already.
        """
        ticket = await self._admit(sending.after(len(have)))
        if ticket is None:
            return known((*have, STOPPED))
        task = self.group.create_task(self._answer(sending, list(have), ticket))
        if self.is_first:
            self.is_first = False
            await asyncio.wait([task])
        return task

    async def _admit(self, sending: Sending, *, again: bool = False) -> Ticket | None:
        """Before every try; None when there is no money for it."""
        ticket = await self.gate.enter(sending.estimate.tokens)
        admitted = False
        try:
            admitted = await self.budget.reserve(sending.estimate, again=again)
        finally:
            if not admitted:
                self.gate.leave(ticket, Outcome())
        return ticket if admitted else None

    async def _answer(self, sending: Sending, got: list[Reply], ticket: Ticket) -> Replies:
        try:
            async with asyncio.timeout(self.settings.deadline):
                await self._tries(sending, got, ticket)
        except TimeoutError:
            got.append(failed(f"no answer by the deadline of {self.settings.deadline:g} s"))
        return tuple(got)

    async def _tries(self, sending: Sending, got: list[Reply], ticket: Ticket | None) -> None:
        """Adds to the answers until all are there, or one that says why there are no more."""
        tried = 0
        while ticket is not None:
            outcome = await self._once(sending.after(len(got)), ticket)
            got += outcome.replies
            if outcome.final or len(got) >= sending.wanted.num:
                return
            tried = 0 if outcome.replies else tried + 1
            if tried:
                self._check(outcome, tried)
            if tried > self.settings.max_retries:
                got.append(failed(f"{outcome.error}; asked {tried} times"))
                return
            if tried:
                await asyncio.sleep(pause(tried, outcome))
            ticket = await self._admit(sending.after(len(got)), again=tried > 0)
        got.append(STOPPED)

    def _check(self, outcome: Outcome, tried: int) -> None:
        """Raises InputError for what another try would not mend."""
        if not outcome.again:
            raise InputError(outcome.error)
        self.num_unusable += outcome.unusable and tried > self.settings.max_retries
        if self.num_unusable >= NEVER_USABLE and not self.num_usable:
            raise InputError(
                f"the endpoint {self.endpoint.url} gave no usable reply to any of {self.num_unusable} questions, and "
                f"may have charged for all: {outcome.error}"
            )

    async def _once(self, sending: Sending, ticket: Ticket) -> Outcome:
        """One try. The replies are in the cache before anything can stop them from being used."""
        outcome = Outcome(error="cancelled", may_cost=True)
        try:
            outcome = await self.endpoint.send(sending.body, sending.wanted)
            self.num_usable += bool(outcome.replies)
            if outcome.replies:
                self.cache.put(sending.key, outcome.replies, outcome.usage, first=sending.wanted.first)
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
