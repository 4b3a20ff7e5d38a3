"""Commands for annotation by people: a queue of answers is handed out, and comes back filled in."""

from pathlib import Path

import click

from hasse.flows.cli.options import JSON, PLUGIN, SET, STORE, print_rows


@click.group()
def annotate() -> None:
    """Hand out answers to annotators and read their feedback."""


@annotate.command("export")
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSONL file to write.")
@STORE
@SET
@PLUGIN
def annotate_export(recipe: str, out: Path, store_path: str, assignments: tuple[str, ...]) -> None:
    """Write a recipe's answers as a queue for annotators.

    Guidelines are written beside the queue. The store must hold the judged candidates of RECIPE.
    """
    from hasse.flows.cli.annotate_files import export_queue
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.pipeline.remote.store import open_store

    number = export_queue(load_recipe(recipe, list(assignments)), open_store(store_path), out)
    click.echo(f"{number} answers in {out}, guidelines in {out.with_suffix('.guidelines.md')}")


@annotate.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--queue",
    type=click.Path(path_type=Path),
    required=True,
    help="The queue that was handed out, to check the files against.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The Parquet file to write, for the setting feedback.human.",
)
@JSON
def annotate_import(files: tuple[Path, ...], queue: Path, out: Path, as_json: bool) -> None:
    """Read queues that annotators have filled in.

    Checks every line of FILES against the queue, writes the feedback, and prints how far the annotators agree.
    """
    from hasse.flows.cli.annotate_files import import_filled

    print_rows([import_filled(files, queue, out)], as_json=as_json)


COMMANDS = (annotate,)
