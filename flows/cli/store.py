"""Commands that look at a store, take artifacts out of it, and clean it."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from hasse.flows.cli.options import JSON, RUN, STORE, named_artifact, print_rows


@click.command("ls")
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


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
@click.argument("ref")
@STORE
@RUN
@click.option("--limit", default=3, show_default=True, help="So many examples.")
@JSON
def preview(ref: str, store_path: str, run_name: str | None, limit: int, as_json: bool) -> None:
    """Show examples of artifact REF as the trainer sees them: the prompt, and the segments whose tokens are learned."""
    from hasse.flows.run import views
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    print_rows(views.preview(store, named_artifact(store, ref, run_name), limit=limit), as_json=as_json)


@click.command()
@click.argument("ref")
@STORE
@RUN
def fetch(ref: str, store_path: str, run_name: str | None) -> None:
    """Bring every file of artifact REF to this machine and print its folder, say to load a checkpoint."""
    from hasse.pipeline.remote.store import open_store

    artifact = named_artifact(open_store(store_path), ref, run_name)
    for name in {name.partition("/")[0] for name in artifact.manifest.files}:
        artifact.file(name)
    click.echo(str(artifact.path))


@click.command()
@click.argument("ref")
@click.option("--format", "kind", required=True, help="trl-preference, trl-prompt-completion, ranked or kto.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@STORE
@RUN
def export(ref: str, kind: str, out: Path, store_path: str, run_name: str | None) -> None:
    """Write the orders of artifact REF as a data set that `datasets` loads."""
    from hasse.data.errors import InputError
    from hasse.data.settings.registry import unknown
    from hasse.pipeline.remote.store import open_store
    from hasse.stages.order.export import FORMATS
    from hasse.stages.order.export import export as write

    if kind not in FORMATS:
        raise InputError(unknown(kind, list(FORMATS), kind="format"))
    store = open_store(store_path)
    orders = named_artifact(store, ref, run_name)
    if orders.stage != "order":
        raise InputError(f"{orders.ref} is of the stage {orders.stage}; only orders are exported")
    click.echo(f"{write(store, orders, out, kind=kind)} rows in {out}")


@click.command()
@STORE
@JSON
def replies(store_path: str, as_json: bool) -> None:
    """Show the replies that were paid for, by status; `hasse prune --replies` deletes them."""
    from hasse.flows.run.replies import shown
    from hasse.pipeline.remote.store import open_store

    print_rows(shown(open_store(store_path)), as_json=as_json)


COMMANDS = (list_artifacts, show, inspect, explain, preview, fetch, export, verify, replies, prune)
