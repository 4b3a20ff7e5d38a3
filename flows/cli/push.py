"""The command that uploads artifacts to the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from hasse.flows.cli.options import RUN, STORE, named_artifact


@click.command()
@click.argument("ref")
@click.argument("repo")
@STORE
@RUN
@click.option("--public", is_flag=True, help="Let everybody see the repository. It is private otherwise.")
@click.option("--license", "licence", help="The licence in the card, by its name on the hub, such as apache-2.0.")
@click.option("--base-model", help="The hub's name of the model that was trained, if the store does not know it.")
@click.option("--format", "kind", help="For orders: push them as `hasse export` writes them, such as trl-preference.")
@click.option("--dry-run", is_flag=True, help="Upload nothing: list the files and print the card.")
def push(
    ref: str,
    repo: str,
    store_path: str,
    run_name: str | None,
    public: bool,
    licence: str | None,
    base_model: str | None,
    kind: str | None,
    dry_run: bool,
) -> None:
    """Upload an artifact to the Hugging Face Hub. A model, an adapter or tables get a card.

    REF is a step, such as `train/rescue/seed-0` or `order`, or stage/fingerprint. REPO is a name on the hub, such as
    me/my-model. The token is read from the variable HF_TOKEN.
    """
    from hasse.flows.hub import push as hub
    from hasse.pipeline.remote.store import open_store

    store = open_store(store_path)
    artifact = named_artifact(store, ref, run_name)
    with TemporaryDirectory() as folder:
        contents = hub.contents_of(
            store,
            artifact,
            repo,
            run=run_name,
            licence=licence,
            base=base_model,
            kind=kind,
            folder=Path(folder),
        )
        if dry_run:
            click.echo(f"{contents.repo_type} {repo}, {'public' if public else 'private'}:")
            for name, size in contents.sizes().items():
                click.echo(f"  {size:>12,} bytes  {name}")
            click.echo(f"\n{contents.card}")
        else:
            click.echo(hub.push(contents, repo, public=public, message=f"{artifact.manifest.name} of {artifact.ref}"))


COMMANDS = (push,)
