"""The flows as deployments: what a server offers to run, each with a form that opens filled in."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from prefect import serve as serve_all
from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.flows import Flow
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

from flows.environment import HEARTBEAT_SECONDS
from flows.prefect_flow import evaluate_flow, hasse_flow, prune_flow, sweep_flow
from flows.recipe import load_recipe, shipped_recipes
from flows.slots import ensure_limits

Parameters = dict[str, Any]

DEMO = "rescue-demo"
FINAL = ("Completed", "Failed", "Cancelled", "Crashed", "Cancelling")
ZOMBIES = "hasse: a run without heartbeats has crashed"
MISSED_HEARTBEATS = 4


def _each_recipe() -> dict[str, Parameters]:
    return {name: {"recipe": recipe_values(name)} for name in shipped_recipes()}


FLOWS: dict[Flow[..., Any], Callable[[], dict[str, Parameters]]] = {
    hasse_flow: _each_recipe,
    sweep_flow: lambda: {"sweep": {"recipe": recipe_values(DEMO), "over": ["order.strategy=hp,lp"]}},
    evaluate_flow: lambda: {"evaluate": {}},
    prune_flow: lambda: {"prune": {}},
}
"""Every flow, and its deployments: name -> the values that its form opens with, beside the store."""


def recipe_values(name: str) -> Parameters:
    """A shipped recipe whole, with every default, as the form wants it."""
    return load_recipe(name, []).model_dump(mode="json")


def deployments(store: str) -> list[RunnerDeployment]:
    return [
        flow.to_deployment(  # type: ignore[misc]  this is no coroutine here
            name,
            parameters={**parameters, "store": store},
            description=parameters.get("recipe", {}).get("description"),
            tags=["hasse"],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for flow, make in FLOWS.items()
        for name, parameters in make().items()
    ]


def serve(store: str, *, limit: int) -> None:
    """Serve every deployment from this process until it is told to stop; at most `limit` runs at a time."""
    prepare()
    serve_all(*deployments(store), limit=limit, print_starting_message=False)


def prepare() -> None:
    """What the server needs once: the limits, and the automation that notices dead runs."""
    ensure_limits()
    automation = zombie_automation()
    try:
        found = Automation.read(name=automation.name, _sync=True)  # type: ignore[call-overload]
    except ValueError:  # there is none of that name
        automation.create(_sync=True)  # type: ignore[call-arg]
        return
    automation.id = found.id
    automation.update(_sync=True)  # type: ignore[call-arg]


def zombie_automation() -> Automation:
    """A run whose heartbeats stop before it has ended is Crashed: its machine is gone, or its process was killed.

    Other flows on the server may beat more slowly, so it looks at these alone.
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
                message="No heartbeat: its process or machine is gone.",
                force=False,
            )
        ],
    )
