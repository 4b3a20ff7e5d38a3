"""What was asked and what it cost, and a limit in dollars that is kept before the money is spent."""

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.chat_endpoint import Outcome
from stages.chat_prices import price_of
from stages.chat_settings import ChatSettings

ROUNDING = 1e-9  # dollars by which sums of binary fractions may pass the limit

Log = Callable[[Mapping[str, float]], None]


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Totals over every call it is passed to; `requests - retries` questions were asked of the server.

    `cached` came from the file, `repeated` equal a question of the same call. `dollars` are of tokens that the server
    counted; `dollars_unreported` is the most that requests may have cost whose usage was never seen; `reserved` is the
    most that those under way may cost. 0 where the model is free. `log` is told of every request before it is sent, and
    of what it cost; what it raises stops the asking.
    """

    requests: int = 0
    retries: int = 0
    cached: int = 0
    repeated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0
    dollars_unreported: float = 0.0
    reserved: float = 0.0
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
            if self.spent + self.reserved + amounts["reserved"] > most + ROUNDING:
                return False
            self._add(amounts)
            return True

    def _add(self, amounts: Mapping[str, float]) -> None:
        if self.log is not None:
            self.log(amounts)
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) + amount)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens of a request: of the question about a quarter of its letters, of the answer as many as it may have."""

    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, letters: int, settings: ChatSettings) -> "Estimate":
        return cls(math.ceil(letters / 4), settings.max_tokens)

    @classmethod
    def of_question(
        cls, question: tuple[str, str], schema: dict[str, Any] | None, settings: ChatSettings
    ) -> "Estimate":
        letters = sum(map(len, question)) + (0 if schema is None else len(json.dumps(schema)))
        return cls.of(letters, settings)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Budget:
    """Raises InputError for a model without a price."""

    def __init__(self, settings: ChatSettings, ledger: Ledger):
        self.stopped = False
        self._price = price_of(settings)
        self._most = math.inf if settings.budget_usd is None else settings.budget_usd
        self._ledger = ledger

    def reserve(self, estimate: Estimate, *, again: bool = False) -> bool:
        """Whether the request, now counted, may be paid for even if it costs the most; `settle` must follow if so."""
        if self._ledger.add_within(self._most, requests=1, retries=int(again), reserved=self._worst(estimate)):
            return True
        self.stopped = True
        return False

    def settle(self, estimate: Estimate, outcome: Outcome) -> None:
        """Puts the cost in the place of the reservation."""
        worst = self._worst(estimate)
        if usage := outcome.usage:
            tokens = usage.prompt_tokens, usage.completion_tokens
            self._ledger.add(
                reserved=-worst,
                input_tokens=tokens[0],
                output_tokens=tokens[1],
                dollars=self._price.dollars(*tokens),
            )
        else:
            self._ledger.add(reserved=-worst, dollars_unreported=worst if outcome.may_cost else 0.0)

    def _worst(self, estimate: Estimate) -> float:
        return self._price.dollars(estimate.input_tokens, estimate.output_tokens)
