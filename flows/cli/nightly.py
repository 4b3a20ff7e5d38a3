"""Commands of every night: run it, and ask which model is the latest."""

import json
import os
from dataclasses import asdict
from typing import Any

import click

from hasse.flows.cli.options import JSON, PLUGIN, SET, STORE, print_rows

SHOWN_NIGHTS = 10


@click.command()
@click.argument("recipe")
@STORE
@SET
@PLUGIN
@click.option("--prefect", is_flag=True, help="Run as a Prefect flow; implied where PREFECT_API_URL is set.")
@JSON
def nightly(recipe: str, store_path: str, assignments: tuple[str, ...], prefect: bool, as_json: bool) -> None:
    """Run RECIPE on what its source holds by now, and promote its model if it beats the latest.

    Only one night of a recipe runs at a time; a second one says so and ends with exit code 1.
    """
    from hasse.flows.cli import screen
    from hasse.flows.nightly.night import night
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.flows.run.history import read_history
    from hasse.flows.run.run import walk
    from hasse.pipeline.remote.store import open_store

    settings, store = load_recipe(recipe, list(assignments)), open_store(store_path)
    if prefect or os.environ.get("PREFECT_API_URL"):
        from hasse.flows.server.nightly_flow import run_as_flow

        run_as_flow(settings, store_path)
        found = read_history(store, settings.name).nights[-1]
    else:
        with screen.listener(quiet=as_json) as listener:
            found, run = night(settings, store, lambda tonights: walk(tonights, store, listener))
        if not as_json:
            screen.show_results(run, as_json=False)
    click.echo(json.dumps(asdict(found), indent=1) if as_json else found.reason)


@click.command()
@click.argument("recipe", required=False)
@STORE
@PLUGIN
@click.option("--path", "path_only", is_flag=True, help="Print the model's folder alone.")
@JSON
def latest(recipe: str | None, store_path: str, path_only: bool, as_json: bool) -> None:
    """Show which model of RECIPE is the latest, and the last nights; without RECIPE the latest of each."""
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.flows.run import views
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    if recipe is None:
        if path_only:
            raise click.UsageError("--path needs a RECIPE")
        print_rows(views.latest_models(store), as_json=as_json)
        return
    name = load_recipe(recipe, []).name if recipe.endswith((".yaml", ".yml")) else recipe
    found = views.latest_model(store, name, with_model=path_only)
    if path_only:
        click.echo(found["model"])
    elif as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from hasse.flows.run import views

    shown = {name: value for name, value in found.items() if name not in ("nights", "latest")}
    click.echo(views.as_yaml({**shown, **(found["latest"] or {})}))
    click.echo()
    print_rows([views.night_row(night) for night in found["nights"][-SHOWN_NIGHTS:]], as_json=False)


COMMANDS = (nightly, latest)
