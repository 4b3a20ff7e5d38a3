"""The flow `nightly`: one night of a recipe as a Prefect flow, whose child is the flow of the run.

A night that starts too late ends as Cancelled, `Dropped`, and so does one that finds another at work; nothing piles up.
"""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State
from prefect.runtime import flow_run
from prefect.schedules import Cron
from prefect.states import Cancelled

from data.errors import InputError
from flows import prefect_flow
from flows.night import AlreadyRunning, hours_late, night
from flows.promotion import Night, as_markdown
from flows.recipe import Recipe

DROPPED = "Dropped"


@flow(name="nightly", flow_run_name="nightly {recipe.name}", persist_result=False)
def nightly_flow(recipe: Recipe, store: str = "store") -> State[Any] | str:
    """Run tonight's recipe and promote its model if it beats the latest; gives the verdict in a line.

    The arguments are those of `hasse nightly`.
    """
    late = _hours_late(recipe)
    if late is not None:
        return Cancelled(name=DROPPED, message=f"dropped, {late:.1f} hours late")
    place = prefect_flow.admit(store, recipe=recipe)
    try:
        found, _ = night(
            recipe,
            place,
            lambda tonights: prefect_flow.run_as_flow(tonights, place, from_stage=None, only=None),
            name=str(flow_run.id),
        )
    except AlreadyRunning as error:
        return Cancelled(name=DROPPED, message=str(error))
    _show(recipe, found)
    return found.reason


def run_as_flow(recipe: Recipe, store: str) -> str:
    """The verdict of a night that is run now, against the server of PREFECT_API_URL or Prefect's own ephemeral one.

    Raises AlreadyRunning, and what the night raises.
    """
    state = nightly_flow(recipe, store=store, return_state=True)
    if state.is_cancelled():
        raise AlreadyRunning(state.message or "the night was cancelled")
    return str(state.result())


def deployment_options(recipe: Recipe) -> dict[str, Any]:
    """What `nightly_flow.to_deployment` needs for the recipe's schedule: one night at a time, a second one is dropped.

    Raises InputError for a schedule that Prefect cannot read.
    """
    if recipe.nightly is None:
        raise InputError(f"recipe {recipe.name} has no section `nightly`")
    try:
        schedule = Cron(recipe.nightly.cron, timezone=recipe.nightly.timezone)
    except ValueError as error:
        raise InputError(f"nightly.cron: {recipe.nightly.cron!r} is not a schedule ({error})") from error
    return {
        "schedule": schedule,
        "concurrency_limit": ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    }


def _hours_late(recipe: Recipe) -> float | None:
    """None for a second attempt: somebody wants it, however late."""
    limit = recipe.nightly.max_late_hours if recipe.nightly else None
    if flow_run.run_count > 1:
        return None
    return hours_late(flow_run.scheduled_start_time, datetime.now(UTC), limit)


def _show(recipe: Recipe, found: Night) -> None:
    get_run_logger().info(found.reason)
    create_markdown_artifact(as_markdown(found), key=f"nightly-{recipe.name}", description=found.reason)
