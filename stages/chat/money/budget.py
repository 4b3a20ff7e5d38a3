"""What was asked and what it cost, and a limit in dollars that is kept before the money is spent."""

import asyncio
import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hasse.stages.chat.http.endpoint import Outcome
from hasse.stages.chat.money.prices import price_of
from hasse.stages.chat.settings import ChatSettings

RESERVED, HELD = "reserved", "held"
ROUNDING = 1e-9  # dollars by which sums of binary fractions may pass the limit

SECONDS_BETWEEN_LOOKS = 0.1
"""At what others of the same ledger, in other threads, have settled."""
MOST_NAMES = 20
"""Of models that a server says have answered; one that names more is not believed."""

Log = Callable[[Mapping[str, float | str]], None]
Room = Literal["reserved", "wait", "none"]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Totals over every call it is passed to; `requests - retries` questions were asked of the server.

    `cached` came from the file, `repeated` equal a question of the same call, `resumed` were in a batch of an earlier
    run. `cached_input_tokens` and `reasoning_tokens` are parts of the others. `answered_by` are names of models as the
    servers tell them. `dollars` are of tokens that the server counted; `dollars_unreported` is the most that requests
    may have cost whose usage was never seen; `reserved` is the most that those under way may cost, `held` those in
    batches. 0 where the model is free. `log` is told of every request before it is sent, and of what it cost, but not
    of what is held: after a kill the batches are found again. What it raises stops the asking.
    """

    requests: int = 0
    retries: int = 0
    cached: int = 0
    repeated: int = 0
    resumed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    dollars: float = 0.0
    dollars_unreported: float = 0.0
    reserved: float = 0.0
    held: float = 0.0
    by_status: Counter[str] = field(default_factory=Counter)
    answered_by: set[str] = field(default_factory=set)
    log: Log | None = field(default=None, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @property
    def spent(self) -> float:
        """Dollars, at most, without those under way."""
        return self.dollars + self.dollars_unreported

    def add(self, **amounts: float) -> None:
        """Several calls, each in a thread of its own, may add to one ledger."""
        with self._lock:
            self._add(amounts)

    def add_within(self, most: float, **amounts: float) -> Room:
        """As `add`, if what is spent and reserved stays within so many dollars.

        Else `wait` where enough may be left once what is under way has been settled, and `none` where nothing is.
        """
        with self._lock:
            worst = sum(amounts.get(name, 0.0) for name in (RESERVED, HELD))
            if self.spent + self.reserved + self.held + worst <= most + ROUNDING:
                self._add(amounts)
                return "reserved"
            may_do = self.spent + worst <= most + ROUNDING and self.reserved + self.held > ROUNDING
            return "wait" if may_do else "none"

    def note_model(self, name: str) -> None:
        """Who answered, as the server says."""
        with self._lock:
            if name and name not in self.answered_by and len(self.answered_by) < MOST_NAMES:
                self.answered_by.add(name[:200])
                if self.log is not None:
                    self.log({"answered_by": name[:200]})

    def _add(self, amounts: Mapping[str, float]) -> None:
        if self.log is not None:
            self.log({name: amount for name, amount in amounts.items() if name != HELD})
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) + amount)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens of a request: of the question about a quarter of its letters, of the answers as many as they may have."""

    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, letters: int, output_tokens: int) -> "Estimate":
        return cls(math.ceil(letters / 4), output_tokens)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Payer(Protocol):
    """On whose account questions are asked.

    replies: the cache for settings that name none. not_before: older replies are not used, in seconds since 1970.
    """

    @property
    def replies(self) -> Path | None: ...

    @property
    def not_before(self) -> float: ...

    def ledger(self, model: str) -> Ledger: ...


@dataclass(slots=True, kw_only=True)
class Account:
    """A payer for as long as the program runs: one ledger a model."""

    replies: Path | None = None
    not_before: float = 0.0
    ledgers: dict[str, Ledger] = field(default_factory=dict)

    def ledger(self, model: str) -> Ledger:
        return self.ledgers.setdefault(model, Ledger())


class Budget:
    """Made where the event loop runs. Raises InputError for a model without a price."""

    def __init__(self, settings: ChatSettings, ledger: Ledger):
        self._settled = asyncio.Event()
        self._price = price_of(settings)
        self._factor = settings.price_factor
        self._reservation = HELD if settings.batch else RESERVED
        self._most = math.inf if settings.budget_usd is None else settings.budget_usd
        self._ledger = ledger

    async def reserve(self, estimate: Estimate, *, again: bool = False) -> bool:
        """Whether the request, now counted, may be paid for even if it costs the most; `settle` must follow if so.

        Where the rest of the money is reserved for what is under way, that is waited for.
        """
        while (room := self._try(estimate, again=again)) == "wait":
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_BETWEEN_LOOKS):
                    await self._settled.wait()
        return room == "reserved"

    def reserve_now(self, estimate: Estimate, *, again: bool = False) -> bool:
        """As `reserve`, without waiting."""
        return self._try(estimate, again=again) == "reserved"

    def _try(self, estimate: Estimate, *, again: bool) -> Room:
        return self._ledger.add_within(self._most, requests=1, retries=int(again), **self._reserved(estimate))

    @property
    def is_free(self) -> bool:
        return self._price.free

    def owe(self, estimate: Estimate) -> None:
        """Reserves what is spent already, by a request that is under way; `settle` must follow."""
        self._ledger.add(**self._reserved(estimate))

    def settle(self, estimate: Estimate, outcome: Outcome) -> None:
        """Puts the cost in the place of the reservation."""
        worst = self._worst(estimate)
        settled = {self._reservation: -worst}
        if usage := outcome.usage:
            tokens = {
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.output_tokens,
                "cached_input_tokens": usage.cached_tokens,
                "reasoning_tokens": usage.reasoning_tokens,
            }
            self._ledger.add(**settled, **tokens, dollars=self._factor * self._price.dollars(usage))
        else:
            self._ledger.add(**settled, dollars_unreported=worst if outcome.may_cost else 0.0)
        self._ledger.note_model(outcome.model)
        self._settled.set()

    def _reserved(self, estimate: Estimate) -> dict[str, float]:
        return {self._reservation: self._worst(estimate)}

    def _worst(self, estimate: Estimate) -> float:
        return self._factor * self._price.at_most(estimate.input_tokens, estimate.output_tokens)
