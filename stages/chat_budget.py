"""What was asked and what it cost, and a limit in dollars that is kept before the money is spent."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stages.chat_endpoint import Outcome
from stages.chat_prices import price_of
from stages.chat_settings import ChatSettings

RESERVED, HELD = "reserved", "held"
ROUNDING = 1e-9  # dollars by which sums of binary fractions may pass the limit

Log = Callable[[Mapping[str, float]], None]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Totals over every call it is passed to; `requests - retries` questions were asked of the server.

    `cached` came from the file, `repeated` equal a question of the same call, `resumed` were in a batch of an earlier
    run. `dollars` are of tokens that the server counted; `dollars_unreported` is the most that requests may have cost
    whose usage was never seen; `reserved` is the most that those under way may cost, `held` those in batches. 0 where
    the model is free. `log` is told of every request before it is sent, and of what it cost, but not of what is held:
    after a kill the batches are found again. What it raises stops the asking.
    """

    requests: int = 0
    retries: int = 0
    cached: int = 0
    repeated: int = 0
    resumed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    dollars_unreported: float = 0.0
    reserved: float = 0.0
    held: float = 0.0
    by_status: Counter[str] = field(default_factory=Counter)
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

    def add_within(self, most: float, **amounts: float) -> bool:
        """As `add`, if what is spent and reserved stays within so many dollars; whether it does."""
        with self._lock:
            worst = sum(amounts.get(name, 0.0) for name in (RESERVED, HELD))
            if self.spent + self.reserved + self.held + worst > most + ROUNDING:
                return False
            self._add(amounts)
            return True

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


class Budget:
    """Raises InputError for a model without a price."""

    def __init__(self, settings: ChatSettings, ledger: Ledger):
        self.stopped = False
        self._price = price_of(settings)
        self._factor = settings.price_factor
        self._reservation = HELD if settings.batch else RESERVED
        self._most = math.inf if settings.budget_usd is None else settings.budget_usd
        self._ledger = ledger

    def reserve(self, estimate: Estimate, *, again: bool = False) -> bool:
        """Whether the request, now counted, may be paid for even if it costs the most; `settle` must follow if so."""
        if self._ledger.add_within(self._most, requests=1, retries=int(again), **self._reserved(estimate)):
            return True
        self.stopped = True
        return False

    def owe(self, estimate: Estimate) -> None:
        """Reserves what is spent already, by a request that is under way; `settle` must follow."""
        self._ledger.add(**self._reserved(estimate))

    def settle(self, estimate: Estimate, outcome: Outcome) -> None:
        """Puts the cost in the place of the reservation."""
        worst = self._worst(estimate)
        settled = {self._reservation: -worst}
        if usage := outcome.usage:
            tokens = usage.prompt_tokens, usage.completion_tokens
            dollars = self._dollars(*tokens)
            self._ledger.add(**settled, input_tokens=tokens[0], output_tokens=tokens[1], dollars=dollars)
        else:
            self._ledger.add(**settled, dollars_unreported=worst if outcome.may_cost else 0.0)

    def _reserved(self, estimate: Estimate) -> dict[str, float]:
        return {self._reservation: self._worst(estimate)}

    def _worst(self, estimate: Estimate) -> float:
        return self._dollars(estimate.input_tokens, estimate.output_tokens)

    def _dollars(self, input_tokens: int, output_tokens: int) -> float:
        return self._factor * self._price.dollars(input_tokens, output_tokens)
