"""The command `hasse`. Exit codes: 0 the work is done, 1 the work failed, 2 the input or the recipe is wrong."""

import sys
from collections.abc import Callable
from typing import Any

import click

from hasse.data.errors import HasseError
from hasse.flows.cli import annotate, launch, models, new, nightly, push, run, server, store, sweep
from hasse.pipeline.disk import disk_message, disk_problem


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hasse-llm")
def cli() -> None:
    """Train a better student model from prompts, by way of candidate answers in a partial order.

    Start with `hasse recipes`, then `hasse run rescue-demo --dry-run`, then the same command without --dry-run.
    """


for _module in (run, new, sweep, store, push, models, annotate, nightly, server, launch):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """Run the command line. An error becomes a message on stderr and an exit code."""
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
        click.echo("\nStopped. Finished work is kept; the same command continues from there.", err=True)
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
