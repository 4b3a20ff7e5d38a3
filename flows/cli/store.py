"""Commands that look into a store, copy artifacts out of it, and clean it."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from hasse.flows.cli.options import JSON, RUN, STORE, named_artifact, print_rows


@click.command("ls")
@STORE
@click.option("--stage", help="List only artifacts of this stage.")
@click.option("--runs", is_flag=True, help="List runs instead of artifacts.")
@JSON
def list_artifacts(store_path: str, stage: str | None, runs: bool, as_json: bool) -> None:
    """List the artifacts, or the runs, of a store."""
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
    """Show the manifest of an artifact.

    A manifest holds the cache key, the inputs, the counts of rows, the metrics and the files. REF is a step, such as
    `judge` or `evaluate/rescue/seed-0`, or stage/fingerprint, or the beginning of one of these.
    """
    from hasse.flows.run.artifact_rows import manifest
    from hasse.pipeline.remote.store import open_store

    _print_values(manifest(named_artifact(open_store(store_path), ref, run_name)), as_json=as_json)


@click.command()
@click.argument("ref")
@STORE
@RUN
@click.option("--table", help="The table to show, if the artifact has several.")
@click.option("--prompt-id", help="Show only rows whose prompt id begins with this.")
@click.option("--status", help="Show only rows with this status.")
@click.option("--limit", default=20, show_default=True, help="The largest number of rows to show.")
@click.option("--sql", help="A DuckDB query over the artifact's tables.")
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
    """Show rows of an artifact.

    REF is a step, such as `judge` or `evaluate/rescue/seed-0`, or stage/fingerprint.
    """
    from hasse.flows.run.artifact_rows import rows
    from hasse.flows.run.query import query
    from hasse.pipeline.remote.store import open_store

    artifact = named_artifact(open_store(store_path), ref, run_name)
    if sql is not None:
        found = query(artifact, sql)
    else:
        found = rows(artifact, table=table, prompt_id=prompt_id, status=status, limit=limit)
    print_rows(found, as_json=as_json)


@click.command()
@click.argument("ref")
@click.argument("other", required=False)
@STORE
@RUN
@JSON
def explain(ref: str, other: str | None, store_path: str, run_name: str | None, as_json: bool) -> None:
    """Tell why an artifact was computed.

    Prints the parts of the cache key of REF, and which of them differ from OTHER, or from the previous artifact of the
    same step.
    """
    from hasse.flows.run import artifact_rows
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    artifact = named_artifact(store, ref, run_name)
    explanation = artifact_rows.explain(store, artifact, named_artifact(store, other) if other else None)
    _print_values(explanation, as_json=as_json)


@click.command("verify")
@STORE
@JSON
def verify_command(store_path: str, as_json: bool) -> None:
    """Check every file of a store.

    Checks artifacts, row chunks, records of runs and nights, and work folders. The exit code is 1 if a file is wrong.
    """
    from hasse.flows.run.verify import verify
    from hasse.pipeline.remote.store import open_store

    rows = verify(open_store(store_path))
    print_rows(rows, as_json=as_json)
    if any(row["problems"] for row in rows):
        sys.exit(1)


@click.command()
@STORE
@click.option(
    "--keep-runs",
    default=5,
    show_default=True,
    help="Keep everything that the newest runs of each recipe used, this many for each recipe.",
)
@click.option("--replies", is_flag=True, help="Delete the cached replies of chat endpoints, and nothing else.")
@click.option("--unfinished", is_flag=True, help="Also delete what killed or failed runs would continue from.")
@click.option("--yes", is_flag=True, help="Delete. Without this option, only list what would be deleted.")
@JSON
def prune(store_path: str, keep_runs: int, replies: bool, unfinished: bool, yes: bool, as_json: bool) -> None:
    """Delete what no recent run uses.

    Kept are the artifacts of recent runs, of runs that are running, were killed or have failed, and of the latest
    nightly models. Replies of chat endpoints, which cost money, are deleted only by --replies.
    """
    from hasse.flows.run.listing import sizes
    from hasse.flows.run.prune import delete_unused, prunable, unknown
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    if replies:
        _prune_replies(store, yes=yes, as_json=as_json)
        return
    names = prunable(store, keep_runs=keep_runs, unfinished=unfinished)
    for problem in [] if names else unknown(store, keep_runs=keep_runs):
        click.echo(
            f"hasse: {problem}. Nothing is deleted, since this file may name what is in use; restore or delete it.",
            err=True,
        )
    print_rows(sizes(store, names), as_json=as_json)
    if yes:
        left = len(names) - len(delete_unused(store, names))
        if left:
            click.echo(f"{left} of these are in use by now and were kept.", err=True)
    elif names and not as_json:
        click.echo("Nothing was deleted; add --yes to delete these.")


def _prune_replies(store: Any, *, yes: bool, as_json: bool) -> None:
    from hasse.flows.run import replies

    print_rows(replies.shown(store), as_json=as_json)
    if yes:
        replies.forget(store)
    elif not as_json:
        click.echo(
            "Nothing was deleted; add --yes to delete these. A deleted reply is paid for again when it is needed again."
        )


@click.command()
@click.argument("ref")
@STORE
@RUN
@click.option("--limit", default=3, show_default=True, help="The number of examples to show.")
@JSON
def preview(ref: str, store_path: str, run_name: str | None, limit: int, as_json: bool) -> None:
    """Show training examples as the trainer sees them.

    Prints the prompt, and the text whose tokens are trained on. REF is a step `examples` or `feedback_examples`, or
    stage/fingerprint.
    """
    from hasse.flows.run import artifact_rows
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    print_rows(artifact_rows.preview(store, named_artifact(store, ref, run_name), limit=limit), as_json=as_json)


@click.command()
@click.argument("ref")
@STORE
@RUN
def fetch(ref: str, store_path: str, run_name: str | None) -> None:
    """Copy an artifact to this machine and print its folder. The base of an adapter comes with it.

    REF is a step, such as `train/rescue/seed-0`, or stage/fingerprint. Needed to load a checkpoint from a store at s3://.
    """
    from hasse.data.records import Checkpoint
    from hasse.pipeline.remote.store import open_store
    from hasse.pipeline.store import table_name
    from hasse.stages.models.checkpoints import model_folder

    artifact = named_artifact(open_store(store_path), ref, run_name)
    for name in {name.partition("/")[0] for name in artifact.manifest.files}:
        artifact.file(name)
    if f"{table_name(Checkpoint)}.parquet" in artifact.manifest.files:
        model_folder(artifact)
    click.echo(str(artifact.path))


@click.command("export")
@click.argument("ref")
@click.option("--format", "kind", help="For orders: trl-preference, trl-prompt-completion, ranked or kto.")
@click.option("--merged", is_flag=True, help="For a model: write whole weights, an adapter merged into its base.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write to.")
@STORE
@RUN
def export_command(ref: str, kind: str | None, merged: bool, out: Path, store_path: str, run_name: str | None) -> None:
    """Write orders as a data set, or a model with whole weights. `datasets` loads the data set.

    REF is a step, such as `order` or `train/rescue/seed-0`, or stage/fingerprint.
    """
    from hasse.data.errors import InputError
    from hasse.data.settings.registry import unknown
    from hasse.pipeline.remote.store import open_store
    from hasse.stages.order.export import FORMATS, export

    if merged == (kind is not None):
        raise InputError("give either --format, for orders, or --merged, for a model")
    if merged:
        from hasse.stages.models.merged import export_merged

        export_merged(named_artifact(open_store(store_path), ref, run_name), out)
        click.echo(f"a whole model in {out}")
        return
    if kind is None or kind not in FORMATS:
        raise InputError(unknown(str(kind), list(FORMATS), kind="format"))
    store = open_store(store_path)
    orders = named_artifact(store, ref, run_name)
    if orders.stage != "order":
        raise InputError(
            f"{orders.ref} is an artifact of the stage {orders.stage}; only artifacts of the stage order are exported"
        )
    click.echo(f"{export(store, orders, out, kind=kind)} rows in {out}")


@click.command()
@STORE
@JSON
def replies(store_path: str, as_json: bool) -> None:
    """Count the cached replies of chat endpoints, by status.

    `hasse prune --replies` deletes these replies.
    """
    from hasse.flows.run.replies import shown
    from hasse.pipeline.remote.store import open_store

    print_rows(shown(open_store(store_path)), as_json=as_json)


def _print_values(values: dict[str, Any], *, as_json: bool) -> None:
    from hasse.flows.cli.tables import as_yaml

    click.echo(json.dumps(values, indent=1) if as_json else as_yaml(values))


COMMANDS = (list_artifacts, show, inspect, explain, preview, fetch, export_command, verify_command, replies, prune)
