"""Commands for nights: run a night, and show the latest model."""

import json
from dataclasses import asdict
from typing import Any

import click

from hasse.flows.cli.options import JSON, PLUGIN, PREFECT, SET, STORE, print_rows

SHOWN_NIGHTS = 10


@click.command()
@click.argument("recipe")
@STORE
@SET
@PLUGIN
@PREFECT
@JSON
def nightly(recipe: str, store_path: str, assignments: tuple[str, ...], prefect: bool, as_json: bool) -> None:
    """Run a recipe on its grown source, and promote a better model.

    Only new rows are sampled and judged. The model of RECIPE is promoted if it beats the latest one. Only one night of
    a recipe runs at a time; a second one ends with exit code 1.
    """
    from hasse.flows.cli import screen
    from hasse.flows.nightly.night import night
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.flows.run.history import read_history
    from hasse.flows.run.run import walk
    from hasse.pipeline.remote.store import open_store

    settings, store = load_recipe(recipe, list(assignments)), open_store(store_path)
    if prefect:
        from hasse.flows.server.nightly_flow import run_night_as_flow

        run_night_as_flow(settings, store_path)
        verdict = read_history(store, settings.name).nights[-1]
    else:
        with screen.listener(quiet=as_json) as listener:
            verdict, run = night(settings, store, lambda tonights: walk(tonights, store, listener))
        if not as_json:
            screen.show_results(run, as_json=False)
    click.echo(json.dumps(asdict(verdict), indent=1) if as_json else verdict.reason)


@click.command()
@click.argument("recipe", required=False)
@STORE
@PLUGIN
@click.option("--path", "path_only", is_flag=True, help="Print only the folder of the model.")
@JSON
def latest(recipe: str | None, store_path: str, path_only: bool, as_json: bool) -> None:
    """Show the model that a recipe's nights promoted last.

    Also shows the last nights of RECIPE. Without RECIPE, shows the latest model of each recipe.
    """
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.flows.run.night_rows import latest_model, latest_models
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    if recipe is None:
        if path_only:
            raise click.UsageError("--path needs a RECIPE")
        print_rows(latest_models(store), as_json=as_json)
        return
    name = load_recipe(recipe, []).name if recipe.endswith((".yaml", ".yml")) else recipe
    found = latest_model(store, name, with_model=path_only)
    if path_only:
        click.echo(found["model"])
    elif as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from hasse.flows.cli.tables import as_yaml
    from hasse.flows.run.night_rows import night_row

    shown = {name: value for name, value in found.items() if name not in ("nights", "latest")}
    click.echo(as_yaml({**shown, **(found["latest"] or {})}))
    click.echo()
    print_rows([night_row(night) for night in found["nights"][-SHOWN_NIGHTS:]], as_json=False)


COMMANDS = (nightly, latest)
