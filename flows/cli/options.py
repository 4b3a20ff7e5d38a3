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
