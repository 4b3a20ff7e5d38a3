"""Estimate what a step would ask and cost, before anything is asked, by the budget's arithmetic."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hasse.stages.chat.money.prices import known_price
from hasse.stages.chat.request import Request, estimate_of
from hasse.stages.chat.settings import ChatSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A request that would be sent, or, where not `sure`, that may be sent depending on the replies to others."""

    request: Request
    chat: ChatSettings
    sure: bool = True


def estimate(planned: Iterable[Planned] | None) -> dict[str, Any] | None:
    """The most questions, tokens and dollars, without retries; each answer counts as long as it may be.

    {calls, calls_at_most, input_tokens, output_tokens, dollars, free, budget_usd}; dollars are None without a price.
    The estimate of None, which stands for a stage that asks no endpoint, is None.
    """
    if planned is None:
        return None
    total: dict[str, Any] = {"calls": 0, "calls_at_most": 0, "input_tokens": 0, "output_tokens": 0, "dollars": 0.0}
    free, caps = True, set()
    for call in planned:
        expected = estimate_of(call.request, call.chat)
        price = known_price(call.chat)
        total["calls"] += call.sure
        total["calls_at_most"] += 1
        total["input_tokens"] += expected.input_tokens
        total["output_tokens"] += expected.output_tokens
        if price is None or total["dollars"] is None:
            total["dollars"] = None
        else:
            total["dollars"] += call.chat.price_factor * price.at_most(expected.input_tokens, expected.output_tokens)
        free = free and price is not None and price.free
        caps.add(call.chat.budget_usd)
    return {**total, "free": free, "budget_usd": caps.pop() if len(caps) == 1 else None}
