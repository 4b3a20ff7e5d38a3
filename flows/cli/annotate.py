"""Commands around annotation by people: a queue of answers goes out, filled lines come back."""

from pathlib import Path

import click

from hasse.flows.cli.options import JSON, PLUGIN, SET, STORE, print_rows


@click.group()
def annotate() -> None:
    """Feedback by people: a queue of answers out, filled lines in."""


@annotate.command("export")
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The queue, JSONL.")
@STORE
@SET
@PLUGIN
def annotate_export(recipe: str, out: Path, store_path: str, assignments: tuple[str, ...]) -> None:
    """Write the queue of RECIPE's answers, with guidelines beside it; its candidates must be judged in the store."""
    from hasse.flows.cli.annotate_files import export_queue
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.pipeline.remote.store import open_store

    number = export_queue(load_recipe(recipe, list(assignments)), open_store(store_path), out)
    click.echo(f"{number} answers in {out}, guidelines in {out.with_suffix('.guidelines.md')}")


@annotate.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--queue", type=click.Path(path_type=Path), required=True, help="The queue that was handed out.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Parquet file, for feedback.human.")
@JSON
def annotate_import(files: tuple[Path, ...], queue: Path, out: Path, as_json: bool) -> None:
    """Check every line of the filled FILES against the queue and write the feedback; reports the agreement."""
    from hasse.flows.cli.annotate_files import import_filled

    print_rows([import_filled(files, queue, out)], as_json=as_json)


COMMANDS = (annotate,)
