"""The commands `run`, `recipes` and `methods`."""

import click

from hasse.flows.cli.options import JSON, PLUGIN, PREFECT, SET, STORE, print_rows


@click.command()
@click.argument("recipe")
@STORE
@SET
@PLUGIN
@click.option("--from-stage", help="Compute this stage and all later ones again. Earlier stages must be in the store.")
@click.option("--only", help="Run only this stage. Earlier stages must be in the store.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the recipe, and print what is cached, what would be computed and what that would cost. Run nothing.",
)
@PREFECT
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
    """Run a recipe, from the prompts to the report.

    RECIPE is the name of a shipped recipe (see `hasse recipes`) or a YAML file. What the store holds already is not
    computed again, so that the same command continues a run that was stopped.
    """
    from hasse.flows.cli import screen
    from hasse.flows.plan.memory import memory_of
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.flows.run.forecast import forecast
    from hasse.flows.run.run import walk
    from hasse.pipeline.remote.store import open_store
    from hasse.stages.train.distributed.machines import MachineGroup

    settings, store = load_recipe(recipe, list(assignments)), open_store(store_path)
    if dry_run:
        memory = memory_of(settings)
        if not as_json:  # first, since it needs neither data nor weights
            screen.show_memory(memory)
        screen.show_forecast(forecast(settings, store), memory, as_json=as_json)
        return
    MachineGroup.of(store, settings.launch).check_hasse_launch()
    if prefect:
        from hasse.flows.server.flows import run_recipe_as_flow

        finished = run_recipe_as_flow(settings, store, from_stage=from_stage, only=only)
    else:
        with screen.listener(quiet=as_json) as listener:
            finished = walk(settings, store, listener, from_stage=from_stage, only=only)
    screen.show_results(finished, as_json=as_json)


@click.command()
@PLUGIN
@click.option("--reference", is_flag=True, help="Print every section and setting of a recipe instead, in Markdown.")
@JSON
def recipes(reference: bool, as_json: bool) -> None:
    """List the shipped recipes."""
    if reference:
        from hasse.flows.recipe.reference import recipes_page

        click.echo(recipes_page(), nl=False)
        return
    from hasse.flows.recipe.catalogue import recipe_rows

    print_rows(recipe_rows(), as_json=as_json)


@click.command()
@PLUGIN
@JSON
def methods(as_json: bool) -> None:
    """List the training methods with their settings."""
    from hasse.flows.recipe.catalogue import method_rows

    print_rows(method_rows(), as_json=as_json)


COMMANDS = (run, recipes, methods)
