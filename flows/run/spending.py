"""Checks on the cost of a run: refuse models without a price, stop when a budget is used up, and format costs."""

from collections.abc import Sequence
from typing import Any

from hasse.data.errors import WorkError
from hasse.flows.recipe.endpoints import endpoints
from hasse.pipeline.run import Done
from hasse.pipeline.stage import Step
from hasse.stages.chat.money.prices import price_of


def check_prices(steps: Sequence[Step]) -> None:
    """Raises InputError for a model of a chat endpoint without a price. Called before anything is computed."""
    for step in steps:
        for chat in endpoints(step.settings):
            price_of(chat)


def stop_unpaid(done: Done) -> None:
    """Raises WorkError if a step ended because its budget was used up: later steps would see only part of its rows."""
    manifest = done.artifact.manifest
    left = manifest.open_units.get("budget_stopped", 0)
    if left:
        raise WorkError(
            f"{done.step}: {left} of {manifest.metrics['units']} are not done, because budget_usd is used up "
            f"({spent(manifest.metrics['cost'])}); raise budget_usd and run the same command to continue"
        )


def spent(cost: dict[str, Any]) -> str:
    """The cost of an artifact as text: what the server reported, and the most that lost replies may have cost."""
    unseen = cost["dollars_unreported"]
    return f"${cost['dollars']:.4g} spent" + (f", perhaps ${unseen:.4g} more on lost replies" if unseen else "")


def expected(estimate: dict[str, Any]) -> str:
    """A stage's estimate of questions, tokens and dollars as one line."""
    calls, most = estimate["calls"], estimate["calls_at_most"]
    asked = f"{calls:,} calls" + (f", up to {most:,}" if most > calls else "")
    tokens = f"{estimate['input_tokens']:,} tokens in, at most {estimate['output_tokens']:,} out"
    rough = "if candidates are as long as allowed: " if estimate.get("rough") else ""
    return f"{rough}{asked}; {tokens}; {_dollars(estimate)}"


def _dollars(estimate: dict[str, Any]) -> str:
    if estimate["dollars"] is None:
        return "no price"
    if estimate["free"]:
        return "free"
    cap = estimate["budget_usd"]
    return f"at most ${estimate['dollars']:,.2f}" + ("" if cap is None else f", cap ${cap:g}")
