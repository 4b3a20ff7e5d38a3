"""Commands around a Prefect server: serve the flows, bring up a server with them, resume a run."""

import os
from pathlib import Path

import click

from hasse.flows.cli.options import JSON, PLUGIN, STORE

LIMIT = click.option("--limit", default=4, show_default=True, type=click.IntRange(1), help="Runs at a time, at most.")
RECIPES = click.option(
    "--recipe", "recipes", multiple=True, help="Offer this one, not all the shipped ones; repeatable."
)


@click.command()
@STORE
@RECIPES
@LIMIT
@PLUGIN
def serve(store_path: str, recipes: tuple[str, ...], limit: int) -> None:
    """Offer the flows at the server of PREFECT_API_URL and run them here, until Ctrl-C.

    Runs may read and write below the working directory and the store, or below the folders of HASSE_ROOTS.
    """
    from hasse.flows.server.deployments import serve as serve_flows
    from hasse.flows.server.roots import VARIABLE, allowed_roots
    from hasse.flows.server.up import end_without_parent

    alone = end_without_parent()
    store = store_path if "://" in store_path else str(Path(store_path).absolute())
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*allowed_roots(), store]))
    serve_flows(store, recipes, limit=limit, alone=alone)


@click.command()
@STORE
@RECIPES
@LIMIT
@PLUGIN
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other needs PREFECT_SERVER_API_AUTH_STRING.")
@click.option("--port", default=4200, show_default=True, type=int, help="Of the pages and the API.")
@click.option(
    "--home",
    default=".hasse/prefect",
    envvar="PREFECT_HOME",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the server's database and logs.",
)
def up(store_path: str, recipes: tuple[str, ...], limit: int, host: str, port: int, home: Path) -> None:
    """Start a Prefect server and serve the flows, until Ctrl-C stops both."""
    from hasse.flows.server.up import up as start

    start(store=store_path, recipes=recipes, host=host, port=port, home=home, limit=limit)


@click.command()
@click.argument("run")
@STORE
@PLUGIN
@click.option("--prefect", is_flag=True, help="Run as a Prefect flow; implied where PREFECT_API_URL is set.")
@JSON
def resume(run: str, store_path: str, prefect: bool, as_json: bool) -> None:
    """Start RUN again as it was: an id of `hasse ls --runs`, the beginning of one, or a Prefect flow run."""
    from hasse.flows.cli import screen
    from hasse.flows.run.resume import arguments_of, find_run, recipe_of
    from hasse.flows.run.resume import resume as resume_here
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    found = find_run(store, run)
    if prefect or os.environ.get("PREFECT_API_URL"):
        from hasse.flows.server.flows import run_as_flow

        finished = run_as_flow(recipe_of(found), store, **arguments_of(found))
    else:
        with screen.listener(quiet=as_json) as listener:
            finished = resume_here(store, found, listener)
    screen.show_results(finished, as_json=as_json)


@click.command()
def prepare() -> None:
    """Make what the server of PREFECT_API_URL needs once: limits, and the automation that notices dead runs.

    `hasse up` and `hasse serve` do so themselves; before `prefect deploy` it is yours to do.
    """
    from hasse.flows.server.deployments import prepare as make

    make()


COMMANDS = (serve, up, resume, prepare)
