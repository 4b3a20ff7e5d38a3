"""One of the processes that train together. Accelerate runs this module with the path of a `RunSpec` as argument."""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from hasse.stages.models.this_process import is_main_process
from hasse.stages.train.distributed.launcher import PROGRESS, write_error, write_result

PATIENCE = timedelta(hours=2)
"""How long a process waits for another. The main process saves a large model while the others wait."""


def main() -> None:
    folder = Path(sys.argv[1]).absolute().parent
    rank = os.environ["RANK"]
    _redirect_output(folder / f"rank-{rank}.log")
    threading.Thread(target=_die_with_launcher, daemon=True).start()
    try:
        _work(folder)
    except BaseException as error:
        write_error(folder, rank, error, traceback.format_exc())
        traceback.print_exc()
        _exit(1)
    _exit(0)


def _work(folder: Path) -> None:
    import torch
    from accelerate import PartialState

    import hasse.stages.train.preload  # noqa: F401  quiet libraries
    from hasse.stages.train.one_run import train_model
    from hasse.stages.train.run_spec import RunSpec

    _check_devices()
    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    run_spec = RunSpec.read(Path(sys.argv[1]), folder.parent.parent)
    points, plan = train_model(run_spec, _progress_writer(folder / PROGRESS))
    if is_main_process():
        write_result(folder, points, plan)
    torch.distributed.barrier()  # no process exits while others still need it
    torch.distributed.destroy_process_group()


def _check_devices() -> None:
    """Raise InputError for more processes than GPUs. Accelerate would silently let processes share a GPU."""
    import torch

    from hasse.data.errors import InputError

    processes, devices = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if torch.cuda.is_available() and processes > devices:
        raise InputError(f"launch.processes: {processes}, but a machine has {devices} GPUs; lower it")


def _progress_writer(path: Path) -> Callable[[int, int], None]:
    """A function by which the main process records how far training is."""

    def write(done: int, total: int) -> None:
        if is_main_process():
            with path.open("a") as file:
                file.write(json.dumps([done, total]) + "\n")

    return write


def _redirect_output(path: Path) -> None:
    """Send all output of this process and its libraries to a file of its own."""
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _die_with_launcher() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGKILL)


def _exit(code: int) -> None:
    """Threads of gloo that outlive the interpreter now and then abort a process whose run_spec is done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
