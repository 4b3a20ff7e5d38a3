"""What a run pays to chat endpoints: no price, no run; no money left, no further step; and how it is told."""

from collections.abc import Sequence
from typing import Any

from hasse.data.errors import WorkError
from hasse.flows.recipe.endpoints import endpoints
from hasse.pipeline.run import Done
from hasse.pipeline.stage import Step
from hasse.stages.chat.money.prices import price_of


def check_prices(steps: Sequence[Step]) -> None:
    """Before anything is computed. Raises InputError for an endpoint's model without a price."""
    for step in steps:
        for chat in endpoints(step.settings):
            price_of(chat)


def stop_unpaid(done: Done) -> None:
    """Raises WorkError where a step ended for want of money: what follows would learn from a part of its rows."""
    manifest = done.artifact.manifest
    left = manifest.open_units.get("budget_stopped", 0)
    if left:
        raise WorkError(
            f"{done.step}: {left} of {manifest.metrics['units']} are not done, for budget_usd is used up "
            f"({spent(manifest.metrics['cost'])}); raise it and run the same command: it goes on from there"
        )


def spent(cost: dict[str, Any]) -> str:
    """Dollars of an artifact's `cost`, as the server counted tokens, and at most of requests it has not answered."""
    unseen = cost["dollars_unreported"]
    return f"${cost['dollars']:.4g} spent" + (f", perhaps ${unseen:.4g} more on lost replies" if unseen else "")


def expected(estimate: dict[str, Any]) -> str:
    """A stage's estimate in a line."""
    calls, most = estimate["calls"], estimate["calls_at_most"]
    asked = f"{calls:,} calls" + (f", up to {most:,}" if most > calls else "")
    tokens = f"{estimate['input_tokens']:,} tokens in, at most {estimate['output_tokens']:,} out"
    rough = "with the longest candidates: " if estimate.get("rough") else ""
    return f"{rough}{asked}; {tokens}; {_dollars(estimate)}"


def _dollars(estimate: dict[str, Any]) -> str:
    if estimate["dollars"] is None:
        return "no price"
    if estimate["free"]:
        return "free"
    cap = estimate["budget_usd"]
    return f"at most ${estimate['dollars']:,.2f}" + ("" if cap is None else f", cap ${cap:g}")
