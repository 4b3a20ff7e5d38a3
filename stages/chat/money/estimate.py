"""What asking would take, before anything is asked: the arithmetic of the budget over the questions themselves."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hasse.stages.chat.money.prices import known_price
from hasse.stages.chat.request import Request, estimate_of
from hasse.stages.chat.settings import ChatSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A request that would be sent; where not `sure`, one that may be, depending on replies to others."""

    request: Request
    chat: ChatSettings
    sure: bool = True


def estimate(planned: Iterable[Planned] | None) -> dict[str, Any] | None:
    """Questions, tokens and dollars, all at most but for those asked again; dollars are None without a price.

    {calls, calls_at_most, input_tokens, output_tokens, dollars, free, budget_usd}; each answer is as long as it may be.
    None of None, which stands for a stage that asks no endpoint.
    """
    if planned is None:
        return None
    found: dict[str, Any] = {"calls": 0, "calls_at_most": 0, "input_tokens": 0, "output_tokens": 0, "dollars": 0.0}
    free, caps = True, set()
    for one in planned:
        expected = estimate_of(one.request, one.chat)
        price = known_price(one.chat)
        found["calls"] += one.sure
        found["calls_at_most"] += 1
        found["input_tokens"] += expected.input_tokens
        found["output_tokens"] += expected.output_tokens
        if price is None or found["dollars"] is None:
            found["dollars"] = None
        else:
            found["dollars"] += one.chat.price_factor * price.at_most(expected.input_tokens, expected.output_tokens)
        free = free and price is not None and price.free
        caps.add(one.chat.budget_usd)
    return {**found, "free": free, "budget_usd": caps.pop() if len(caps) == 1 else None}
