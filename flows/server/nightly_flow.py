"""The flow `nightly`: one night of a recipe. The run itself is a child flow.

A night that starts too late, or while another night of the recipe is running, ends as Cancelled with the name
`Dropped`, so that nights do not pile up.
"""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from prefect import flow, get_run_logger
from prefect._vendor.croniter import croniter
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, State
from prefect.client.schemas.schedules import CronSchedule
from prefect.runtime import flow_run
from prefect.states import Cancelled

from hasse.data.errors import InputError
from hasse.flows.nightly.night import AlreadyRunning, hours_late, night
from hasse.flows.nightly.promotion import as_markdown
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.history import Night
from hasse.flows.server.flows import admit, run_recipe_as_flow

DROPPED = "Dropped"
FROM_RECIPE = "recipe"
"""The slug of a schedule that comes from a recipe's `cron`. Schedules that are made on the page have no such slug."""
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""A night is cancelled if another night of the same deployment is running."""


@flow(name="nightly", flow_run_name="nightly {recipe.name}", persist_result=False)
def nightly_flow(recipe: Recipe, store: str = "store") -> State[Any] | str:
    """Run a recipe on its grown source, and promote a better model. Returns the verdict as one sentence.

    The arguments are those of `hasse nightly`.
    """
    late = _hours_late(recipe)
    if late is not None:
        return Cancelled(name=DROPPED, message=f"dropped, {late:.1f} hours late")
    place = admit(store, recipe=recipe)
    try:
        verdict, _ = night(
            recipe,
            place,
            lambda tonights: run_recipe_as_flow(tonights, place, from_stage=None, only=None),
            name=str(flow_run.id),
        )
    except AlreadyRunning as error:
        return Cancelled(name=DROPPED, message=str(error))
    _show(recipe, verdict)
    return verdict.reason


def run_night_as_flow(recipe: Recipe, store: str) -> str:
    """Run a night as a flow, at the server of PREFECT_API_URL or at an ephemeral server. Returns the verdict.

    Raises AlreadyRunning, and whatever the night raises.
    """
    state = nightly_flow(recipe, store=store, return_state=True)
    if state.is_cancelled():
        raise AlreadyRunning(state.message or "the night was cancelled")
    return str(state.result())


def schedule_of(recipe: Recipe) -> DeploymentScheduleCreate | None:
    """The schedule of a recipe's nightly deployment, or None if nights start only by hand.

    Raises InputError for a schedule that Prefect cannot read.
    """
    if recipe.nightly is None:
        raise InputError(f"recipe {recipe.name} has no section `nightly`")
    if recipe.nightly.cron is None:
        return None
    try:
        schedule = CronSchedule(cron=recipe.nightly.cron, timezone=recipe.nightly.timezone)
    except ValueError as error:
        raise InputError(f"nightly.cron: {recipe.nightly.cron!r} is not a schedule ({error})") from error
    try:
        next_time(schedule, datetime.now(UTC))
    except ValueError as error:
        raise InputError(f"nightly.cron: {recipe.nightly.cron!r} never comes ({error}); check day and month") from error
    return DeploymentScheduleCreate(schedule=schedule, slug=FROM_RECIPE)


def next_time(schedule: CronSchedule, after: datetime) -> datetime:
    """Give the time at which the schedule fires next.

    Raises ValueError if it never does, such as on the 31st of February.
    """
    return croniter(schedule.cron, after.astimezone(ZoneInfo(schedule.timezone or "UTC"))).get_next(datetime)


def _hours_late(recipe: Recipe) -> float | None:
    """Give the number of hours by which this night is late, or None if it may run. A second try may always run."""
    limit = recipe.nightly.max_late_hours if recipe.nightly else None
    if flow_run.run_count > 1:
        return None
    return hours_late(flow_run.scheduled_start_time, datetime.now(UTC), limit)


def _show(recipe: Recipe, found: Night) -> None:
    get_run_logger().info(found.reason)
    create_markdown_artifact(as_markdown(found), key=f"nightly-{recipe.name}", description=found.reason)
