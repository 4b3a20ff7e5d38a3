"""The command `hasse launch`: a run that trains on several machines."""

import json
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from hasse.flows.cli.options import PLUGIN, SET, STORE
from hasse.flows.cli.run import run


@click.command()
@click.argument("recipe")
@STORE
@SET
@PLUGIN
@click.option(
    "--machines", type=click.IntRange(1), help="The number of machines. Default: the recipe's launch.machines."
)
@click.option(
    "--machine-rank", default=0, show_default=True, type=click.IntRange(0), help="The number of this machine, from 0."
)
@click.option("--main-address", help="The name or IP address of machine 0, for the other machines.")
@click.option("--main-port", type=click.IntRange(1, 65535), help="A free port of machine 0.")
@click.option(
    "--print", "only_print", is_flag=True, help="Print accelerate's command and configuration, and run nothing."
)
@click.pass_context
def launch(
    context: click.Context,
    recipe: str,
    store_path: str,
    assignments: tuple[str, ...],
    machines: int | None,
    machine_rank: int,
    main_address: str | None,
    main_port: int | None,
    only_print: bool,
) -> None:
    """Run a recipe with training on several machines.

    Give the same command on each machine, with its own --machine-rank and the same store. Machine 0 runs RECIPE as
    `hasse run` does; the other machines join its training steps and end when machine 0 ends.
    """
    from hasse.data.errors import InputError
    from hasse.flows.recipe.recipe import load_recipe
    from hasse.pipeline.remote.store import open_store
    from hasse.stages.train.distributed.machines import MachineGroup

    given = {"machines": machines, "main_address": main_address, "main_port": main_port}
    assignments += tuple(f"launch.{name}={json.dumps(value)}" for name, value in given.items() if value is not None)
    settings, store = load_recipe(recipe, list(assignments)), open_store(store_path)
    if machine_rank >= settings.launch.machines:
        raise InputError(f"--machine-rank {machine_rank}: the {settings.launch.machines} machines are numbered from 0")
    for line in commands(settings, store, machine_rank):
        click.echo(line, err=not only_print)
    if only_print:
        return
    meeting = MachineGroup.of(store, settings.launch)
    if machine_rank > 0:
        store.check_writable()
        follow(meeting, machine_rank)
        return
    with meeting.waited_for(lambda text: click.echo(text, err=True)):
        context.invoke(run, recipe=recipe, store_path=store_path, assignments=assignments)


def commands(recipe: Any, store: Any, machine_rank: int) -> Iterator[str]:
    """The command that starts the processes of a training step on this machine, and its configuration file."""
    import yaml

    from hasse.stages.train.distributed.accelerate_config import accelerate_config, shown
    from hasse.stages.train.distributed.launcher import FOLDER, SPEC
    from hasse.stages.train.trainer_folder import TRAINER

    settled = recipe.launch.with_processes(recipe.train.prompts_per_step)
    if not settled.needs_launcher:
        yield "Training runs in one process here, which needs no launcher."
        return
    folder = store.root / "train" / ".work-KEY" / TRAINER / FOLDER
    config = folder / f"machine-{machine_rank}.yaml"
    yield f"Machine {machine_rank} of {settled.machines} runs this command for a training step; KEY is the step's key:"
    yield shown(config, folder / SPEC)
    yield f"with this {config.name}:"
    yield yaml.safe_dump(accelerate_config(settled, recipe.train, machine_rank), sort_keys=False).rstrip()


def follow(meeting: Any, machine_rank: int) -> None:
    """Join each training step of machine 0 until its run is done.

    Raises WorkError if the run failed, or if machine 0 sends no more heartbeats.
    """
    from hasse.stages.train.distributed.machines import BEAT_SECONDS, ObservedMachine, heartbeat

    main, joined = ObservedMachine(meeting.folder, 0), ""
    with heartbeat(meeting.folder, machine_rank):
        click.echo("waiting for machine 0")
        while (status := main.status()) != "done":
            if status != "absent":
                main.check()
            task = meeting.task() if status == "running" else None
            if task and task[0] != joined:
                joined = task[0]
                _join(task[1], machine_rank, main)
            time.sleep(BEAT_SECONDS / 2)
    click.echo("the run is done")


def _join(spec: Path, machine_rank: int, main: Any) -> None:
    """Run this machine's part of a training step. An error is reported to machine 0, which then fails as well."""
    from hasse.data.errors import HasseError
    from hasse.stages.train.distributed.launcher import run_processes, write_error
    from hasse.stages.train.run_spec import RunSpec

    folder = spec.parent
    click.echo(f"joining the training step in {folder}")
    try:
        run_processes(RunSpec.read(spec, folder.parent.parent), folder, machine_rank, watch=[main.check])
    except HasseError as error:
        if folder.exists():
            write_error(folder, f"machine-{machine_rank}", error, traceback.format_exc())
        click.echo(f"the training step failed here: {error}", err=True)


COMMANDS = (launch,)
