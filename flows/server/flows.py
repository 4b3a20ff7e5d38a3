"""The Prefect flows: run a recipe, run a sweep, evaluate the models of an earlier run, and prune the store."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import deployment, flow_run
from pydantic import BaseModel, Field

from hasse.data.settings.form import JSON_INTEGER
from hasse.flows.plan.steps import HELD_OUT, plan
from hasse.flows.recipe.recipe import Recipe, load_recipe
from hasse.flows.run import prune
from hasse.flows.run.preflight import check_ready
from hasse.flows.run.records import find_run
from hasse.flows.run.resume import read_run, recipe_of
from hasse.flows.run.run import Run, begin, go_through, span
from hasse.flows.run.spending import check_prices
from hasse.flows.run.sweep import sweep
from hasse.flows.server.artifact_pages import table
from hasse.flows.server.roots import check_roots
from hasse.flows.server.secrets import load_keys
from hasse.flows.server.slots import ensure_limits
from hasse.flows.server.tasks import as_task
from hasse.pipeline.remote.store import absolute, open_store
from hasse.pipeline.stage import Step
from hasse.pipeline.store import Store
from hasse.stages.evaluate.settings import EvaluateSection

DEMO: Any = load_recipe("rescue-demo", []).form_values()
"""The values in the forms of deployments that `prefect deploy` makes."""


def _run_name() -> str:
    """The name of a flow run: the recipe and the date."""
    parameters = flow_run.parameters
    recipe = parameters.get("recipe")
    name = recipe.get("name") if isinstance(recipe, dict) else getattr(recipe, "name", None)
    return f"{name or parameters.get('run') or flow_run.flow_name} {datetime.now(UTC):%Y-%m-%d %H:%M}"


@flow(name="hasse", flow_run_name=_run_name, persist_result=False)
def hasse_flow(
    recipe: Recipe = DEMO,
    store: str = "store",
    from_stage: str | None = None,
    only: str | None = None,
    since: str | None = None,
) -> str:
    """Run a recipe, from the prompts to the report. Returns the id of the recorded run.

    Args:
        recipe: The recipe. The form holds the values of the recipe that the deployment is named after.
        store: Folder of the artifacts.
        from_stage: Compute this stage and all later stages again. Earlier stages must be in the store.
        only: Run only this stage. Earlier stages must be in the store.
        since: With from_stage: what was computed since this time (UTC) is not computed again.
    """
    place = admit(store, recipe=recipe)
    steps = plan(recipe)
    first, last = span(steps, from_stage, only)
    how = {"from_stage": from_stage, "only": only, "since": since or _first_start()}
    return _walk(recipe, place, steps[:last], first, **how).run_id


@flow(name="sweep", flow_run_name=_run_name, persist_result=False)
def sweep_flow(
    recipe: Recipe = DEMO,
    over: Sequence[str] = ("order.strategy=hp,lp",),
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None,
    store: str = "store",
) -> str:
    """Run a recipe once for each combination of settings. Returns the page with the results.

    Args:
        recipe: The recipe whose settings are changed.
        over: Settings and their values, such as order.strategy=hp,lp,lp_hp. Each combination is one run.
        seeds: How many training seeds each arm has: 0, 1, ... Left out: the seeds of the recipe.
        store: Folder of the artifacts.
    """
    place = admit(store, recipe=recipe, over=over)

    def admit_one(one: Recipe) -> Store:
        return admit(store, recipe=one)

    def run_one(one: Recipe) -> Run:
        return read_run(place, hasse_flow(one, store=store), one)

    done = sweep(recipe, place, run_one, over=tuple(over), assignments=[], seeds=seeds, admit=admit_one)
    _show(
        f"# Sweep of {recipe.name}\n\n[{done.page}](file://{done.page})\n\n{table(done.rows, limit=200)}", key="sweep"
    )
    return str(done.page)


@flow(name="evaluate", flow_run_name=_run_name, persist_result=False)
def evaluate_flow(run: str, evaluate: EvaluateSection | None = None, store: str = "store") -> str:
    """Evaluate the models of an earlier run again, without training. Returns the id of the recorded run.

    Args:
        run: The id of a run in the store, the beginning of an id, or the id or name of a Prefect flow run.
        evaluate: Settings of the evaluation. Left out: the settings of that run.
        store: Folder of the artifacts.
    """
    place = admit(store, evaluate=evaluate)
    recipe = recipe_of(find_run(place, run))
    if evaluate is not None:
        recipe = recipe.model_copy(update={"evaluate": evaluate})
    admit(store, recipe=recipe)
    steps = plan(recipe)
    return _walk(recipe, place, steps, _first_after_training(steps)).run_id


@flow(name="prune", flow_run_name=_run_name, persist_result=False)
def prune_flow(
    store: str = "store", keep_runs: Annotated[int, Field(ge=1, le=JSON_INTEGER)] = 5, delete: bool = False
) -> int:
    """List what no recent run uses, and delete it if `delete` is set. Returns the number of folders.

    Args:
        store: Folder of the artifacts.
        keep_runs: Keep everything that the newest runs of each recipe used, this many for each recipe.
        delete: Delete the listed folders.
    """
    place = admit(store)
    names = prune.prunable(place, keep_runs=keep_runs)
    _show(
        f"# {'Deleted' if delete else 'Can be deleted'}\n\n" + "\n".join(f"- `{name}`" for name in names), key="prune"
    )
    if delete:
        names = prune.delete_unused(place, names)
    return len(names)


def run_recipe_as_flow(
    recipe: Recipe, store: Store, *, from_stage: str | None, only: str | None, since: str | None = None
) -> Run:
    """Run a recipe as a flow, at the server of PREFECT_API_URL or at an ephemeral server. Returns the run."""
    run_id = hasse_flow(recipe, store=store.location, from_stage=from_stage, only=only, since=since)
    return read_run(store, run_id, recipe)


def admit(store: str, **settings: Any) -> Store:
    """Prepare a run and return its store: check its paths, load its keys, and make the concurrency limits.

    Only the paths of a run that a deployment started are checked: any other run was started by a user of this machine.
    """
    logging.getLogger("prefect.task_runs").setLevel(logging.WARNING)  # one line a step, by the flow itself
    if deployment.id:
        check_roots(store, where="store")
        for name, value in settings.items():
            check_roots(value.model_dump() if isinstance(value, BaseModel) else value, where=name)
    for value in settings.values():
        load_keys(value)
    ensure_limits()
    return open_store(absolute(store))


def _walk(recipe: Recipe, store: Store, steps: list[Step], first: int, **how: Any) -> Run:
    """Run every step as a task. The steps before number `first` must be in the store."""
    check_prices(steps[first:])
    check_ready(steps, store, first=first, anew=how.get("from_stage") is not None)
    run = begin(recipe, store, **how, flow_run=str(flow_run.id), flow_run_name=flow_run.name)
    return go_through(run, store, steps, first, lambda step, anew: as_task(step, store, run.artifacts, refresh=anew))


def _first_start() -> str:
    """Give the time at which this flow run was first to start.

    A Retry on the page keeps what earlier tries have computed since then.
    """
    start = flow_run.scheduled_start_time
    return start.astimezone(UTC).isoformat(timespec="seconds")


def _first_after_training(steps: list[Step]) -> int:
    """The number of the first step of evaluation: candidates for held-out prompts, if there are any."""
    return next(i for i, s in enumerate(steps) if s.labels == HELD_OUT or s.stage.name == "evaluate")


def _show(markdown: str, *, key: str) -> None:
    create_markdown_artifact(markdown, key=key, _sync=True)  # type: ignore[call-arg]
