"""One of the processes that train together: accelerate runs this module with the path of a `RunSpec` as argument."""

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
from hasse.stages.train.distributed.launcher import PROGRESS, write_found, write_report

PATIENCE = timedelta(hours=2)
"""Of a process for another: the main one saves a large model while the others wait."""


def main() -> None:
    folder = Path(sys.argv[1]).absolute().parent
    rank = os.environ["RANK"]
    _speak_into(folder / f"rank-{rank}.log")
    threading.Thread(target=_die_with_launcher, daemon=True).start()
    try:
        _work(folder)
    except BaseException as error:
        write_report(folder, rank, error, traceback.format_exc())
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _work(folder: Path) -> None:
    import torch
    from accelerate import PartialState

    import hasse.stages.train.preload  # noqa: F401  quiet libraries
    from hasse.stages.train.one_run import learn
    from hasse.stages.train.run_spec import RunSpec

    _check_devices()
    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    work = RunSpec.read(Path(sys.argv[1]), folder.parent.parent)
    points, plan = learn(work, _teller(folder / PROGRESS))
    if is_main_process():
        write_found(folder, points, plan)
    torch.distributed.barrier()  # nobody leaves while others still need it
    torch.distributed.destroy_process_group()


def _check_devices() -> None:
    """accelerate would have processes share a GPU without a word."""
    import torch

    from hasse.data.errors import InputError

    processes, devices = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if torch.cuda.is_available() and processes > devices:
        raise InputError(f"launch.processes: {processes}, but a machine has {devices} GPUs; lower it")


def _teller(path: Path) -> Callable[[int, int], None]:
    """Says how far training is; the main process alone."""

    def tell(done: int, total: int) -> None:
        if is_main_process():
            with path.open("a") as file:
                file.write(json.dumps([done, total]) + "\n")

    return tell


def _speak_into(path: Path) -> None:
    """What this process and its libraries print is kept apart from what the others do."""
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _die_with_launcher() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(code: int) -> None:
    """Threads of gloo that outlive the interpreter now and then abort a process whose work is done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
