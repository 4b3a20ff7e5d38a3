"""Options that several commands have, and how they print rows."""

import json
from typing import Any

import click

STORE = click.option(
    "--store",
    "store_path",
    default="store",
    envvar="HASSE_STORE",
    show_default=True,
    help="Folder of the artifacts, or s3://bucket/prefix.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
RUN = click.option(
    "--run", "run_name", help="The run that the step belongs to; left out: the newest run that has such a step."
)


def _add_plugins(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    """Before anything that holds settings is imported: settings are made of all plugs that are known by then."""
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
    help="A Python file or module with a plug of your own; repeatable. HASSE_PLUGINS lists some as well.",
)
SET = click.option("--set", "assignments", multiple=True, metavar="A.B=C", help="Change one setting of the recipe.")


def named_artifact(store: Any, name: str, run: str | None = None) -> Any:
    """The artifact of that name; says on stderr which run it was taken from, where the user has not said."""
    from hasse.flows.run.references import find_artifact

    return find_artifact(store, name, run=run, say=lambda line: click.echo(line, err=True))


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    from hasse.flows.cli.tables import show_rows

    if as_json:
        click.echo(json.dumps(rows, indent=1, default=str))
    else:
        show_rows(rows)
