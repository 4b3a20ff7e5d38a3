"""Commands for a Prefect server: start a server, serve the flows, prepare the server, and resume a run."""

import os
from pathlib import Path

import click

from hasse.flows.cli.options import JSON, PLUGIN, PREFECT, STORE

LIMIT = click.option(
    "--limit", default=4, show_default=True, type=click.IntRange(1), help="How many runs may run at a time."
)
RECIPES = click.option(
    "--recipe", "recipes", multiple=True, help="Offer this recipe instead of all shipped recipes. Repeatable."
)


@click.command("serve")
@STORE
@RECIPES
@LIMIT
@PLUGIN
def serve_command(store_path: str, recipes: tuple[str, ...], limit: int) -> None:
    """Serve the flows at a running Prefect server.

    The flows are offered at the server of PREFECT_API_URL and run on this machine, until Ctrl-C. Runs may read and
    write below the working directory and the store, or below the folders of HASSE_ROOTS.
    """
    from hasse.flows.server.deployments import serve
    from hasse.flows.server.roots import VARIABLE, allowed_roots
    from hasse.flows.server.up import end_without_parent

    alone = end_without_parent()
    store = store_path if "://" in store_path else str(Path(store_path).absolute())
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*allowed_roots(), store]))
    serve(store, recipes, limit=limit, alone=alone)


@click.command("up")
@STORE
@RECIPES
@LIMIT
@PLUGIN
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at. Any other address needs PREFECT_SERVER_API_AUTH_STRING.",
)
@click.option("--port", default=4200, show_default=True, type=int, help="The port of the pages and the API.")
@click.option(
    "--home",
    default=".hasse/prefect",
    envvar="PREFECT_HOME",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder of the server's database and logs.",
)
def up_command(store_path: str, recipes: tuple[str, ...], limit: int, host: str, port: int, home: Path) -> None:
    """Start a Prefect server and serve the flows.

    Both run until Ctrl-C. Open the printed address in a browser to start runs and look at them.
    """
    from hasse.flows.server.up import up

    up(store=store_path, recipes=recipes, host=host, port=port, home=home, limit=limit)


@click.command("resume")
@click.argument("run")
@STORE
@PLUGIN
@PREFECT
@JSON
def resume_command(run: str, store_path: str, prefect: bool, as_json: bool) -> None:
    """Continue a run that was stopped or has failed.

    RUN is an id that `hasse ls --runs` shows, the beginning of an id, or the id or name of a Prefect flow run. The
    recipe and the options are those of that run.
    """
    from hasse.flows.cli import screen
    from hasse.flows.run.records import find_run
    from hasse.flows.run.resume import arguments_of, recipe_of, resume
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    found = find_run(store, run)
    if prefect:
        from hasse.flows.server.flows import run_recipe_as_flow

        finished = run_recipe_as_flow(recipe_of(found), store, **arguments_of(found))
    else:
        with screen.listener(quiet=as_json) as listener:
            finished = resume(store, found, listener)
    screen.show_results(finished, as_json=as_json)


@click.command("prepare")
def prepare_command() -> None:
    """Prepare a Prefect server for `prefect deploy`.

    Creates, at the server of PREFECT_API_URL, the concurrency limits and the automation that notices dead runs. `hasse
    up` and `hasse serve` do this themselves.
    """
    from hasse.flows.server.deployments import prepare

    prepare()


COMMANDS = (serve_command, up_command, resume_command, prepare_command)
