"""The command `new`: a plug of your own to begin with, and its test."""

from pathlib import Path

import click

KINDS = ("method", "sampler", "teacher", "source", "order")


@click.command()
@click.argument("kind", type=click.Choice(KINDS), metavar="KIND")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write.  [default: NAME.py]")
def new(kind: str, name: str, out: Path | None) -> None:
    """Write a working plug and its test.

    KIND is method, sampler, teacher, source or order; recipes will call the plug NAME. Change both files to what you
    need, run the test by pytest, and name the plug by --plugin.
    """
    from hasse.data.errors import InputError
    from hasse.data.settings.plugs.outside.source import NAME

    path = out or Path(f"{name}.py")
    if not NAME.fullmatch(name) or path.suffix != ".py":
        raise InputError(f"{name} in {path}: a plug has a name of lower-case letters, digits and _, in a file .py")
    files = {path: f"{kind}.txt", path.with_name(f"test_{path.name}"): f"test_{kind}.txt"}
    for file in files:
        if file.exists():
            raise InputError(f"{file} exists already; give another NAME or --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, skeleton in files.items():
        file.write_text(_written(skeleton, name, path), encoding="utf-8")
    click.echo(f"{path} and {path.with_name(f'test_{path.name}')}; try: pytest {path.with_name(f'test_{path.name}')}")


def _written(skeleton: str, name: str, path: Path) -> str:
    """A skeleton with the plug's name, and that of its file, filled in."""
    text = (Path(__file__).parent / "skeletons" / skeleton).read_text(encoding="utf-8")
    return text.replace("NAME.py", path.name).replace("NAME", name)


COMMANDS = (new,)
