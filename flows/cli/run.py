"""The commands `run`, `recipes` and `methods`."""

import os

import click

from hasse.flows.cli.options import JSON, PLUGIN, SET, STORE, print_rows


@click.command()
@click.argument("recipe")
@STORE
@SET
@PLUGIN
@click.option("--from-stage", help="Compute this stage and all after it anew; those before must be in the store.")
@click.option("--only", help="Run this stage alone; those before it must be in the store.")
@click.option("--dry-run", is_flag=True, help="Print what is cached and what would be computed.")
@click.option("--prefect", is_flag=True, help="Run as a Prefect flow; implied where PREFECT_API_URL is set.")
@JSON
def run(
    recipe: str,
    store_path: str,
    assignments: tuple[str, ...],
    from_stage: str | None,
    only: str | None,
    dry_run: bool,
    prefect: bool,
    as_json: bool,
) -> None:
    """Run RECIPE: the name of a shipped one (see `hasse recipes`) or a YAML file."""
    from hasse.flows.cli import screen
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.flows.run.forecast import forecast
    from hasse.flows.run.run import walk
    from hasse.pipeline.remote.store import open_store
    from hasse.stages.train.distributed.machines import Meeting

    settings, store = load_recipe(recipe, list(assignments)), open_store(store_path)
    if dry_run:
        screen.show_forecast(forecast(settings, store), as_json=as_json)
        return
    Meeting.of(store, settings.launch).check_hosted()
    if prefect or os.environ.get("PREFECT_API_URL"):
        from hasse.flows.server.flows import run_as_flow

        finished = run_as_flow(settings, store, from_stage=from_stage, only=only)
    else:
        with screen.listener(quiet=as_json) as listener:
            finished = walk(settings, store, listener, from_stage=from_stage, only=only)
    screen.show_results(finished, as_json=as_json)


@click.command()
@PLUGIN
@click.option("--reference", is_flag=True, help="Print every section and setting of a recipe, in Markdown.")
@JSON
def recipes(reference: bool, as_json: bool) -> None:
    """List the shipped recipes."""
    if reference:
        from hasse.flows.recipe.reference import reference as page

        click.echo(page(), nl=False)
        return
    from hasse.flows.run import views

    print_rows(views.recipes(), as_json=as_json)


@click.command()
@PLUGIN
@JSON
def methods(as_json: bool) -> None:
    """List the training methods and their settings."""
    from hasse.flows.run import views

    print_rows(views.methods(), as_json=as_json)


COMMANDS = (run, recipes, methods)
