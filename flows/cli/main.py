"""The command `hasse`. Exit codes: 0 done, 1 the work failed, 2 the input or the recipe is wrong."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from hasse.data.errors import HasseError
from hasse.pipeline.disk import disk_message, disk_problem

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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hasse-llm")
def cli() -> None:
    """Prompts and a student model in, a better student out, by way of candidate answers in a partial order."""


@cli.command()
@click.argument("recipe")
@STORE
@SET
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


@cli.command("ls")
@STORE
@click.option("--stage", help="Only artifacts of this stage.")
@click.option("--runs", is_flag=True, help="List runs instead of artifacts.")
@JSON
def list_artifacts(store_path: str, stage: str | None, runs: bool, as_json: bool) -> None:
    """List what is in the store."""
    from hasse.flows.run import listing
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    print_rows(listing.run_rows(store) if runs else listing.artifact_rows(store, stage=stage), as_json=as_json)


@cli.command()
@click.argument("ref")
@STORE
@RUN
@JSON
def show(ref: str, store_path: str, run_name: str | None, as_json: bool) -> None:
    """Show the manifest of artifact REF: a step, such as `judge` or `evaluate/rescue/seed-0`, or stage/fingerprint."""
    from hasse.flows.run import views
    from hasse.pipeline.remote.store import open_store

    manifest = views.manifest(named_artifact(open_store(store_path), ref, run_name))
    click.echo(json.dumps(manifest, indent=1) if as_json else views.as_yaml(manifest))


@cli.command()
@click.argument("ref")
@STORE
@RUN
@click.option("--table", help="Which table, if the artifact has several.")
@click.option("--prompt-id", help="Only rows of this prompt (or of ids that begin so).")
@click.option("--status", help="Only rows of this status.")
@click.option("--limit", default=20, show_default=True, help="At most so many rows.")
@click.option("--sql", help="A query over the artifact's tables, by DuckDB.")
@JSON
def inspect(
    ref: str,
    store_path: str,
    run_name: str | None,
    table: str | None,
    prompt_id: str | None,
    status: str | None,
    limit: int,
    sql: str | None,
    as_json: bool,
) -> None:
    """Show rows of artifact REF."""
    from hasse.flows.run import views
    from hasse.flows.run.query import query
    from hasse.pipeline.remote.store import open_store

    artifact = named_artifact(open_store(store_path), ref, run_name)
    if sql is not None:
        rows = query(artifact, sql)
    else:
        rows = views.rows(artifact, table=table, prompt_id=prompt_id, status=status, limit=limit)
    print_rows(rows, as_json=as_json)


@cli.command()
@click.argument("ref")
@click.argument("other", required=False)
@STORE
@RUN
@JSON
def explain(ref: str, other: str | None, store_path: str, run_name: str | None, as_json: bool) -> None:
    """Print the parts of REF's key, and what differs from OTHER or from the last artifact of the same step."""
    from hasse.flows.run import views
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    artifact = named_artifact(store, ref, run_name)
    explanation = views.explain(store, artifact, named_artifact(store, other) if other else None)
    click.echo(json.dumps(explanation, indent=1) if as_json else views.as_yaml(explanation))


@cli.command()
@STORE
@JSON
def verify(store_path: str, as_json: bool) -> None:
    """Check the store: artifacts, row chunks, records, work folders; exit code 1 when something is wrong."""
    from hasse.flows.run.verify import verify as check
    from hasse.pipeline.remote.store import open_store

    rows = check(open_store(store_path))
    print_rows(rows, as_json=as_json)
    if any(row["problems"] for row in rows):
        sys.exit(1)


@cli.command()
@STORE
@click.option("--keep-runs", default=5, show_default=True, help="Keep all that the last so many runs of a recipe used.")
@click.option("--replies", is_flag=True, help="Delete the replies that were paid for, and nothing else.")
@click.option("--unfinished", is_flag=True, help="Also what runs that were killed or have failed would go on with.")
@click.option("--yes", is_flag=True, help="Delete; without it only list what would go.")
@JSON
def prune(store_path: str, keep_runs: int, replies: bool, unfinished: bool, yes: bool, as_json: bool) -> None:
    """Delete what no recent run uses, and no run that goes on, was killed or has failed; replies only when asked."""
    from hasse.flows.run.listing import sizes
    from hasse.flows.run.prune import delete_unused, prunable, unknown
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    if replies:
        _prune_replies(store, yes=yes, as_json=as_json)
        return
    names = prunable(store, keep_runs=keep_runs, unfinished=unfinished)
    for problem in [] if names else unknown(store, keep_runs=keep_runs):
        click.echo(f"hasse: {problem}. Nothing can be known to be unused; restore or delete this file.", err=True)
    print_rows(sizes(store, names), as_json=as_json)
    if yes:
        left = len(names) - len(delete_unused(store, names))
        if left:
            click.echo(f"{left} of them are in use by now and stay.", err=True)
    elif names and not as_json:
        click.echo("Nothing was deleted; add --yes to delete these.")


def _prune_replies(store: Any, *, yes: bool, as_json: bool) -> None:
    from hasse.flows.run import replies

    print_rows(replies.shown(store), as_json=as_json)
    if yes:
        replies.forget(store)
    elif not as_json:
        click.echo(
            "Nothing was deleted; add --yes to delete these. What is deleted is paid for again when it is asked."
        )


@cli.command()
@JSON
def recipes(as_json: bool) -> None:
    """List the shipped recipes."""
    from hasse.flows.run import views

    print_rows(views.recipes(), as_json=as_json)


@cli.command()
@JSON
def methods(as_json: bool) -> None:
    """List the training methods and their settings."""
    from hasse.flows.run import views

    print_rows(views.methods(), as_json=as_json)


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


def register() -> None:
    """Add the commands that live in a file of their own."""
    from hasse.flows.cli import launch as launching
    from hasse.flows.cli import nightly as night_commands
    from hasse.flows.cli import server as serving
    from hasse.flows.cli import tools

    commands = (*tools.COMMANDS, *night_commands.COMMANDS, *serving.COMMANDS, *launching.COMMANDS)
    for command in commands:
        cli.add_command(command)


def main() -> None:
    """Entry point: errors as one message and an exit code."""
    register()
    sys.exit(_guarded(lambda: cli.main(standalone_mode=False)))


def _guarded(command: Callable[[], Any]) -> int:
    try:
        command()
        return 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nStopped. What was finished is kept; the same command goes on from there.", err=True)
        return 1
    except HasseError as error:
        click.echo(f"hasse: {error}", err=True)
        return error.exit_code
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        click.echo(f"hasse: {disk_message('a file', problem)}", err=True)
        return 1


if __name__ == "__main__":
    main()
