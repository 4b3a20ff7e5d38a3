"""Ledgers of what was asked and what it cost, and a limit in dollars that is checked before money is spent."""

import asyncio
import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from hasse.stages.chat.http.outcome import Outcome
from hasse.stages.chat.money.prices import price_of
from hasse.stages.chat.settings import ChatSettings

RESERVED, HELD = "reserved", "held"
ROUNDING = 1e-9  # dollars by which rounding errors of sums may exceed the limit

SECONDS_BETWEEN_LOOKS = 0.1
"""How often a waiting call looks at what other threads have settled in the same ledger."""
MOST_NAMES = 20
"""The most names of answering models that a ledger keeps; a server that names more is not believed."""

Log = Callable[[Mapping[str, float | str]], None]
Room = Literal["reserved", "wait", "none"]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Totals for one model over all calls that use this ledger. `requests - retries` questions were sent to the server.

    cached: questions answered by the cache. repeated: questions equal to another question of the same call. resumed:
    questions in a batch of an earlier run. `cached_input_tokens` and `reasoning_tokens` are parts of the input and
    output tokens. answered_by: names of the models that answered, as the server gives them. dollars: the cost of the
    tokens that the server counted. dollars_unreported: the maximum cost of requests whose usage was never seen.
    reserved, held: the maximum cost of requests under way, one by one and in batches. All are 0 for a free model.

    `log` gets every change: each request before it is sent, and its cost. It does not get what is held, since batches
    are found again after a kill. An exception of `log` stops the asking.
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
        """The maximum cost in dollars of all requests that have ended."""
        return self.dollars + self.dollars_unreported

    def add(self, **amounts: float) -> None:
        """Add to the totals; callable from several threads."""
        with self._lock:
            self._add(amounts)

    def add_within(self, most: float, **amounts: float) -> Room:
        """Add the amounts if the dollars spent and reserved stay within `most`.

        Otherwise returns `wait` if settling the requests under way may leave enough money, and `none` if it cannot.
        """
        with self._lock:
            worst = sum(amounts.get(name, 0.0) for name in (RESERVED, HELD))
            if self.spent + self.reserved + self.held + worst <= most + ROUNDING:
                self._add(amounts)
                return "reserved"
            may_do = self.spent + worst <= most + ROUNDING and self.reserved + self.held > ROUNDING
            return "wait" if may_do else "none"

    def note_model(self, name: str) -> None:
        """Note the name that the server gives the model that answered."""
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
    """Estimated tokens of a request: a quarter of the question's letters, and the most that the answers may have."""

    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, letters: int, output_tokens: int) -> "Estimate":
        return cls(math.ceil(letters / 4), output_tokens)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Payer(Protocol):
    """The account that pays for questions.

    replies: the cache of replies for settings that name none. not_before: replies that were kept before this time, in
    seconds since 1970, are not used.
    """

    @property
    def replies(self) -> Path | None: ...

    @property
    def not_before(self) -> float: ...

    def ledger(self, model: str) -> Ledger: ...


@dataclass(slots=True, kw_only=True)
class Account:
    """A payer in memory, with one ledger per model."""

    replies: Path | None = None
    not_before: float = 0.0
    ledgers: dict[str, Ledger] = field(default_factory=dict)

    def ledger(self, model: str) -> Ledger:
        return self.ledgers.setdefault(model, Ledger())


class Budget:
    """The limit in dollars of one call, created in its event loop. Raises InputError for a model without a price."""

    def __init__(self, settings: ChatSettings, ledger: Ledger):
        self._settled = asyncio.Event()
        self._price = price_of(settings)
        self._factor = settings.price_factor
        self._reservation = HELD if settings.batch else RESERVED
        self._most = math.inf if settings.budget_usd is None else settings.budget_usd
        self._ledger = ledger

    async def reserve(self, estimate: Estimate, *, again: bool = False) -> bool:
        """Count a request and reserve its maximum cost; False when the money is used up. `settle` must follow True.

        Waits while the rest of the money is reserved for requests under way.
        """
        while (room := self._try(estimate, again=again)) == "wait":
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_BETWEEN_LOOKS):
                    await self._settled.wait()
        return room == "reserved"

    def reserve_now(self, estimate: Estimate, *, again: bool = False) -> bool:
        """Like `reserve`, but without waiting."""
        return self._try(estimate, again=again) == "reserved"

    def _try(self, estimate: Estimate, *, again: bool) -> Room:
        return self._ledger.add_within(self._most, requests=1, retries=int(again), **self._reserved(estimate))

    @property
    def is_free(self) -> bool:
        return self._price.free

    def owe(self, estimate: Estimate) -> None:
        """Reserve the cost of a request that an earlier run has sent; `settle` must follow."""
        self._ledger.add(**self._reserved(estimate))

    def settle(self, estimate: Estimate, outcome: Outcome) -> None:
        """Replace the reservation of a request by its cost."""
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
