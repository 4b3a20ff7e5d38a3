"""Find a recorded run by its id or its Prefect flow run, and continue it with the same recipe and arguments."""

from typing import Any

from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.own_plugs import check_plugs
from hasse.flows.run.records import find_run
from hasse.flows.run.run import Listener, Run, walk
from hasse.pipeline.run import Done
from hasse.pipeline.settings_file import validate
from hasse.pipeline.store import Store


def recipe_of(run: dict[str, Any]) -> Recipe:
    """Raises RecipeError when settings of the run, or plugs from outside that it used, are no longer known."""
    check_plugs(run)
    return validate(Recipe, run["recipe"], where=f"the recipe of run {run['run_id']}")


def arguments_of(run: dict[str, Any]) -> dict[str, str | None]:
    """The arguments of `walk` to continue this run. What was computed anew since the run first began is kept."""
    how = run.get("how", {})
    return {
        "from_stage": how.get("from_stage"),
        "only": how.get("only"),
        "since": how.get("since") or run["started"],
    }


def resume(store: Store, run: dict[str, Any], listener: Listener) -> Run:
    return walk(recipe_of(run), store, listener, **arguments_of(run))


def read_run(store: Store, run_id: str, recipe: Recipe) -> Run:
    """Read a recorded run together with its artifacts."""
    described = find_run(store, run_id)
    done = [
        Done(
            step=step["step"],
            artifact=store.artifact(step["ref"]).standing_for(step["step"], step.get("labels", {})),
            cached=step["cached"],
            seconds=step["seconds"],
        )
        for step in described["steps"]
    ]
    return Run(
        run_id=run_id,
        recipe=recipe,
        started=described["started"],
        done=done,
        status=described["status"],
        how=described["how"],
    )
