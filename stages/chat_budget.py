"""What was asked and what it cost, and a limit in dollars that is kept before the money is spent."""

import math
from collections import Counter
from dataclasses import dataclass, field

from data.errors import InputError
from stages.chat_endpoint import Outcome
from stages.chat_settings import ChatSettings, Price

ROUNDING = 1e-9  # dollars by which sums of binary fractions may pass the limit


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Totals over every call it is passed to; `requests - retries` questions were asked of the server.

    `cached` came from the file, `repeated` equal a question of the same call, `resumed` were in a batch of an earlier
    run. `dollars` are of tokens that the server counted; `dollars_unreported` is the most that requests may have cost
    whose usage was never seen. 0 without a price.
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
    by_status: Counter[str] = field(default_factory=Counter)


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
    """Raises InputError for a limit that cannot be kept: the model has no price."""

    def __init__(self, settings: ChatSettings, ledger: Ledger):
        price = settings.prices.get(settings.model)
        if settings.budget_usd is not None and price is None:
            priced = ", ".join(settings.prices) or "none"
            raise InputError(
                f"budget_usd is set and prices has no {settings.model!r} (it has: {priced})"
                "; give its input and output in dollars per million tokens, or free: true"
            )
        self.stopped = False
        self._price = price or Price(free=True)
        self._factor = settings.batch.price_factor if settings.batch else 1.0
        self._most = math.inf if settings.budget_usd is None else settings.budget_usd
        self._ledger = ledger
        self._reserved = 0.0

    def reserve(self, estimate: Estimate) -> bool:
        """Whether the request may be paid for even if it costs the most; `settle` must follow if so."""
        worst = self._worst(estimate)
        spent = self._ledger.dollars + self._ledger.dollars_unreported
        if spent + self._reserved + worst > self._most + ROUNDING:
            self.stopped = True
            return False
        self._reserved += worst
        return True

    def owe(self, estimate: Estimate) -> None:
        """Reserves what is spent already, by a request that is under way; `settle` must follow."""
        self._reserved += self._worst(estimate)

    def settle(self, estimate: Estimate, outcome: Outcome) -> None:
        """Puts the cost in the place of the reservation."""
        self._reserved -= self._worst(estimate)
        if usage := outcome.usage:
            self._ledger.input_tokens += usage.prompt_tokens
            self._ledger.output_tokens += usage.completion_tokens
            self._ledger.dollars += self._dollars(usage.prompt_tokens, usage.completion_tokens)
        elif outcome.may_cost:
            self._ledger.dollars_unreported += self._worst(estimate)

    def _worst(self, estimate: Estimate) -> float:
        return self._dollars(estimate.input_tokens, estimate.output_tokens)

    def _dollars(self, input_tokens: int, output_tokens: int) -> float:
        return self._factor * self._price.dollars(input_tokens, output_tokens)
