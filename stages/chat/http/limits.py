"""Decide when the next request may start, by the settings, by the server's headers, and by the load that it bears.

The number of requests at a time follows additive increase, multiplicative decrease: it is halved when the server is
overloaded, and grows by one after as many replies as it allows at a time. Among requests that were under way together
only the first refused request halves it, as in TCP; otherwise one refused burst would always end at 1.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hasse.stages.chat.http.headers import remaining
from hasse.stages.chat.http.outcome import Outcome
from hasse.stages.chat.settings import ChatSettings


@dataclass(frozen=True, slots=True)
class Ticket:
    """A started request. `taken`: the requests and tokens that had been started up to and including this request."""

    number: int
    amounts: Mapping[str, float]
    taken: Mapping[str, float]


class Pace:
    """A limit per minute, kept by even spacing, so that servers which count over shorter windows accept it too."""

    LATE = 0.05  # a start that is late by up to this many seconds does not delay the following starts

    def __init__(self, per_minute: float | None):
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._free_at = -math.inf

    def wait(self, now: float) -> float:
        return self._free_at - now

    def take(self, amount: float, now: float) -> None:
        self._free_at = max(self._free_at, now - self.LATE) + amount * self._seconds_each

    def correct(self, amount: float) -> None:
        self._free_at += amount * self._seconds_each


class Quota:
    """The quota that a server reports until its next reset, minus the requests that started after its report."""

    def __init__(self):
        self.taken = 0.0
        self._left, self._as_of, self._until = math.inf, 0.0, -math.inf

    def wait(self, amount: float, now: float) -> float:
        left = self._left - (self.taken - self._as_of)
        return self._until - now if left < amount else 0.0

    def report(self, left: float, reset: float, *, as_of: float, now: float) -> None:
        if as_of >= self._as_of:  # replies overtake each other; the reply to the latest request counts
            self._left, self._as_of, self._until = left, as_of, now + reset


class Gate:
    """Lets requests start, first come, first served. `allowed`: how many may be under way at present."""

    def __init__(self, settings: ChatSettings, clock: Callable[[], float] = time.monotonic):
        self.allowed = self._most = settings.concurrency
        self.running = 0
        self._clock = clock
        self._longest_wait = settings.longest_wait
        self._paces = {"requests": Pace(settings.requests_per_minute), "tokens": Pace(settings.tokens_per_minute)}
        self._quotas = {"requests": Quota(), "tokens": Quota()}
        self._paused_until = -math.inf
        self._started = self._lowered_at = self._successes = 0
        self._turn, self._changed = asyncio.Lock(), asyncio.Event()

    async def enter(self, tokens: int) -> Ticket:
        """Wait until a request of so many estimated tokens may start; `leave` must follow."""
        amounts = {"requests": 1.0, "tokens": float(tokens)}
        async with self._turn:
            while (wait := self._wait(amounts)) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if wait == math.inf else wait):
                        await self._changed.wait()
            return self._start(amounts)

    def leave(self, ticket: Ticket, outcome: Outcome) -> None:
        """End a request and adapt the limits to its outcome."""
        now = self._clock()
        self.running -= 1
        if outcome.usage:
            self._paces["tokens"].correct(outcome.usage.total - ticket.amounts["tokens"])
        for kind, quota in self._quotas.items():
            if (found := remaining(outcome.headers, kind)) is not None:
                left, reset = found
                quota.report(left, min(reset, self._longest_wait), as_of=ticket.taken[kind], now=now)
        self._adapt(ticket, outcome, now)
        self._changed.set()

    def _wait(self, amounts: Mapping[str, float]) -> float:
        if self.running >= self.allowed:
            return math.inf
        now = self._clock()
        waits = [self._quotas[kind].wait(amount, now) for kind, amount in amounts.items()]
        return max(self._paused_until - now, *(pace.wait(now) for pace in self._paces.values()), *waits)

    def _start(self, amounts: Mapping[str, float]) -> Ticket:
        now = self._clock()
        self.running += 1
        self._started += 1
        for kind, amount in amounts.items():
            self._paces[kind].take(amount, now)
            self._quotas[kind].taken += amount
        return Ticket(self._started, amounts, {kind: quota.taken for kind, quota in self._quotas.items()})

    def _adapt(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        if outcome.overloaded:
            self._paused_until = max(self._paused_until, now + outcome.retry_after)
            if ticket.number > self._lowered_at:
                self.allowed = max(1, self.allowed // 2)
                self._lowered_at, self._successes = self._started, 0
        elif outcome.replies:
            self._successes += 1
            if self._successes >= self.allowed:
                self.allowed, self._successes = min(self.allowed + 1, self._most), 0
