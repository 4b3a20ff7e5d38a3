"""The command `sweep`."""

import json

import click

from hasse.flows.cli.options import JSON, PLUGIN, SET, STORE


@click.command()
@click.argument("recipe")
@click.option("--over", multiple=True, required=True, metavar="A.B=X,Y", help="A setting and its values; repeatable.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="Training seeds 0, 1, ... of every arm.")
@STORE
@SET
@PLUGIN
@JSON
def sweep(
    recipe: str, over: tuple[str, ...], seeds: int | None, store_path: str, assignments: tuple[str, ...], as_json: bool
) -> None:
    """Run RECIPE once for each combination of settings; what they share is computed once."""
    from hasse.flows.cli import screen
    from hasse.flows.cli.tables import show_rows
    from hasse.flows.run.run import walk
    from hasse.flows.run.sweep import sweep as run_all
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    with screen.listener(quiet=as_json) as listener:
        done = run_all(
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


COMMANDS = (sweep,)
