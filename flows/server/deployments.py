"""The flows as deployments: what a server offers to run, each with a form that is filled in already."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import TerminationSignal
from prefect.flows import Flow
from prefect.runner import Runner
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

from hasse.flows.environment import HEARTBEAT_SECONDS
from hasse.flows.recipe.recipe import Recipe, load_recipe, shipped_recipes
from hasse.flows.server.flows import evaluate_flow, hasse_flow, prune_flow, sweep_flow
from hasse.flows.server.nightly_flow import ONE_AT_A_TIME, nightly_flow, schedule_of
from hasse.flows.server.schedule_watch import LOGGER, ScheduleWatch
from hasse.flows.server.schedules import TAG, keep_schedule, pause_abandoned
from hasse.flows.server.slots import ensure_limits

Parameters = dict[str, Any]

FINAL = ("Completed", "Failed", "Cancelled", "Crashed", "Cancelling")
ZOMBIES = "hasse: a run without heartbeats has crashed"
MISSED_HEARTBEATS = 4

FLOWS: tuple[Flow[..., Any], ...] = (hasse_flow, nightly_flow, sweep_flow, evaluate_flow, prune_flow)
"""Every flow. `hasse` has a deployment for each recipe, `nightly` for each recipe with nights; the others have one."""


def recipe_values(name: str) -> Parameters:
    """All values of a shipped recipe or a recipe file, including defaults."""
    return load_recipe(name, []).form_values()


def forms(recipes: Sequence[str]) -> Iterator[tuple[Flow[..., Any], str, Parameters]]:
    """Give, for each deployment, the flow, the name, and the values in its form."""
    for recipe in recipes or shipped_recipes():
        values = recipe_values(recipe)
        yield hasse_flow, values["name"], {"recipe": values}
        if values["nightly"] is not None:
            yield nightly_flow, values["name"], {"recipe": values}
    for flow in FLOWS[2:]:
        yield flow, flow.name, {}


def deployments(store: str, recipes: Sequence[str]) -> list[RunnerDeployment]:
    """One deployment for each form. The schema of a flow's form is slow to make, so each schema is made once."""
    plain: dict[str, RunnerDeployment] = {}
    found = []
    for flow, name, parameters in forms(recipes):
        if flow is nightly_flow:
            made = _deployment(flow, concurrency_limit=ONE_AT_A_TIME)
        else:
            made = plain[flow.name] = plain.get(flow.name) or _deployment(flow)
        description = parameters.get("recipe", {}).get("description") or made.description
        changes = {"name": name, "parameters": {**parameters, "store": store}, "description": description}
        copy = made.model_copy(update=changes)
        copy.model_fields_set.discard("schedules")  # an empty list would delete schedules that were made by hand
        found.append(copy)
    return found


def schedules(recipes: Sequence[str]) -> dict[str, DeploymentScheduleCreate | None]:
    """Full name of each nightly deployment -> the schedule in its recipe, or None."""
    return {
        f"{flow.name}/{name}": schedule_of(Recipe.model_validate(parameters["recipe"]))
        for flow, name, parameters in forms(recipes)
        if flow is nightly_flow
    }


def _deployment(flow: Flow[..., Any], **options: Any) -> RunnerDeployment:
    made = flow.to_deployment(flow.name, tags=[TAG], entrypoint_type=EntrypointType.MODULE_PATH, **options)
    return cast(RunnerDeployment, made)  # a coroutine only inside an event loop


def serve(store: str, recipes: Sequence[str], *, limit: int, alone: bool = False) -> None:
    """Serve every deployment from this process until the process is told to stop.

    Args:
        store: Where the runs keep their artifacts.
        recipes: Names or files of recipes. Empty: all shipped recipes.
        limit: How many runs may run at a time.
        alone: No other process serves deployments at this server.
    """
    served, wanted = deployments(store, recipes), schedules(recipes)
    prepare()
    runner = Runner(pause_on_shutdown=True, limit=limit)
    ids = {made.full_name: cast(UUID, runner.add_deployment(made)) for made in served}
    with get_client(sync_client=True) as client:
        for name, schedule in wanted.items():
            keep_schedule(client, ids[name], schedule)
        for name in pause_abandoned(client, ids, alone=alone):
            LOGGER.warning("%s is paused, since no recipe that is served here has nights of this name", name)
    ScheduleWatch(ids).start()
    with contextlib.suppress(TerminationSignal):
        asyncio.run(runner.start())


def prepare() -> None:
    """Create what the server needs once: the concurrency limits, and the automation that notices dead runs."""
    ensure_limits()
    automation = zombie_automation()
    try:
        found = Automation.read(name=automation.name, _sync=True)  # type: ignore[call-overload]
    except ValueError:  # there is no automation of this name
        automation.create(_sync=True)  # type: ignore[call-arg]
        return
    automation.id = found.id
    automation.update(_sync=True)  # type: ignore[call-arg]


def zombie_automation() -> Automation:
    """The automation that marks a run as Crashed if its heartbeats stop before its end.

    Then the machine is gone, or the process was killed. Other flows on the server may beat more slowly, so only the
    flows of hasse are watched.
    """
    names = [flow.name for flow in FLOWS]
    seconds = get_current_settings().flows.heartbeat_frequency or HEARTBEAT_SECONDS
    return Automation(
        name=ZOMBIES,
        description="Made by `hasse serve`.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in FINAL)},
            match={"prefect.resource.id": "prefect.flow-run.*"},  # type: ignore[arg-type]
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": names},  # type: ignore[arg-type]
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=MISSED_HEARTBEATS * seconds),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message="The run sends no heartbeat: its process or machine is gone.",
                force=False,
            )
        ],
    )
