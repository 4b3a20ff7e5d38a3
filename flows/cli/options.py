"""Options that several commands share, and how commands print rows."""

import json
import os
from typing import Any

import click

STORE = click.option(
    "--store",
    "store_path",
    default="store",
    envvar="HASSE_STORE",
    show_default=True,
    help="The store: a folder, or s3://bucket/prefix.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
PREFECT = click.option(
    "--prefect",
    is_flag=True,
    callback=lambda context, parameter, given: given or bool(os.environ.get("PREFECT_API_URL")),
    help="Run as a Prefect flow. Implied if PREFECT_API_URL is set.",
)
RUN = click.option("--run", "run_name", help="Take the step from this run. Default: the newest run that has the step.")


def _add_plugins(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    """Load the plugs before settings are imported, since the settings classes are made of all plugs known by then."""
    if names:
        from hasse.data.settings.plugs.outside import add

        add(names)


PLUGIN = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE_OR_MODULE",
    expose_value=False,
    is_eager=True,
    callback=_add_plugins,
    help="A Python file or module with a method, sampler or other plug of your own. Repeatable. HASSE_PLUGINS may "
    "list plugs as well.",
)
SET = click.option(
    "--set", "assignments", multiple=True, metavar="A.B=C", help="Change one setting of the recipe. Repeatable."
)


def named_artifact(store: Any, name: str, run: str | None = None) -> Any:
    """Find an artifact by its name. If the user named no run, stderr tells which run the artifact is from."""
    from hasse.flows.run.references import find_artifact

    return find_artifact(store, name, run=run, say=lambda line: click.echo(line, err=True))


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    from hasse.flows.cli.tables import show_rows

    if as_json:
        click.echo(json.dumps(rows, indent=1, default=str))
    else:
        show_rows(rows)
