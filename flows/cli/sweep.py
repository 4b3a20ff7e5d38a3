"""The command `sweep`."""

import json

import click

from hasse.flows.cli.options import JSON, PLUGIN, SET, STORE


@click.command("sweep")
@click.argument("recipe")
@click.option(
    "--over", multiple=True, required=True, metavar="A.B=X,Y", help="A setting and the values it takes. Repeatable."
)
@click.option("--seeds", type=click.IntRange(1, 1000), help="How many training seeds each arm has: 0, 1, ...")
@STORE
@SET
@PLUGIN
@JSON
def sweep_command(
    recipe: str, over: tuple[str, ...], seeds: int | None, store_path: str, assignments: tuple[str, ...], as_json: bool
) -> None:
    """Run a recipe once for each combination of settings.

    RECIPE is the name of a shipped recipe or a YAML file. What the runs share is computed once. The results are
    printed, and written to a page with a plot.
    """
    from hasse.flows.cli import screen
    from hasse.flows.cli.tables import show_rows
    from hasse.flows.run.run import walk
    from hasse.flows.run.sweep import sweep
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    with screen.listener(quiet=as_json) as listener:
        done = sweep(
            recipe,
            store,
            lambda one: walk(one, store, listener),
            over=over,
            assignments=list(assignments),
            seeds=seeds,
        )
    if as_json:
        click.echo(json.dumps({"results": done.rows, "page": str(done.page)}, indent=1))
    else:
        show_rows(done.rows)
        click.echo(f"Sweep: {done.page}")


COMMANDS = (sweep_command,)
