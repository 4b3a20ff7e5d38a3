"""A recorded run, found by what the user knows of it, and started again with its recipe, arguments and store."""

from collections.abc import Mapping
from typing import Any

from hasse.data.errors import CorruptFile, InputError
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.own_plugs import check_plugs
from hasse.flows.run.records import all_records
from hasse.flows.run.run import Listener, Run, walk
from hasse.pipeline.run import Done
from hasse.pipeline.settings_file import validate
from hasse.pipeline.store import Store

NAMED_BY = ("flow_run", "flow_run_name")
"""What a run of Prefect is also known by."""


def find_run(store: Store, name: str) -> dict[str, Any]:
    """The run of that id, of a unique beginning of it, or the newest of that Prefect flow run, by id or name.

    Raises InputError when there is none, or more than one, and CorruptFile where its record cannot be read.
    """
    runs, broken = all_records(store)
    by_flow = [run for run in runs if name in [run.get("how", {}).get(key) for key in NAMED_BY]]
    exact = [run for run in runs if run["run_id"] == name] or by_flow[-1:]
    found = exact or [run for run in runs if run["run_id"].startswith(name)]
    unread = [] if exact and name not in broken else [run_id for run_id in broken if run_id.startswith(name)]
    if len(found) + len(unread) > 1:
        ids = [*(run["run_id"] for run in found), *unread]
        raise InputError(f"{name!r} fits {len(ids)} runs: {', '.join(ids)}")
    if unread:
        raise CorruptFile(f"{broken[unread[0]]}; restore the file, or run the recipe again: what is done is kept")
    if not found:
        raise InputError(f"no run {name!r} in {store}; {_elsewhere(broken)}")
    return found[0]


def _elsewhere(broken: Mapping[str, str]) -> str:
    known = "`hasse ls --runs` lists those that are there"
    return f"{known}, and {len(broken)} of their records cannot be read" if broken else known


def recipe_of(run: dict[str, Any]) -> Recipe:
    """Raises RecipeError when settings of the run, or plugs from outside that it used, are no longer known."""
    check_plugs(run)
    return validate(Recipe, run["recipe"], where=f"the recipe of run {run['run_id']}")


def arguments_of(run: dict[str, Any]) -> dict[str, str | None]:
    """`since`: what has been computed anew since the run first began need not be computed anew again."""
    how = run.get("how", {})
    return {
        "from_stage": how.get("from_stage"),
        "only": how.get("only"),
        "since": how.get("since") or run["started"],
    }


def resume(store: Store, run: dict[str, Any], listener: Listener) -> Run:
    return walk(recipe_of(run), store, listener, **arguments_of(run))


def read_run(store: Store, run_id: str, recipe: Recipe) -> Run:
    """A recorded run with its artifacts."""
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
