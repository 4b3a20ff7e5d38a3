"""Start and watch the processes of a training run, until there is a model or an error.

Files in the job's folder during training:

    trainer/launch/spec.json          the run (hasse.stages.train.run_spec.RunSpec)
                   machine-0.yaml     accelerate's configuration; machine-0.log the output of its launcher
                   rank-0.log         the output of a process; error-0.json its error
                   progress.jsonl     [steps done, all steps], by the main process
                   result.json        the curve and the plan, by the main process after it has saved the model

A process ends when its standard input closes, so all processes end with the process that started the launcher.
"""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hasse.data import errors
from hasse.data.errors import ChildDied, HasseError, StoreError
from hasse.data.records import CurvePoint
from hasse.pipeline.disk import disk_message, disk_problem
from hasse.pipeline.files import write_atomically
from hasse.pipeline.stage import Job
from hasse.stages.train.distributed.accelerate_config import accelerate_config, command, environment, interpreter
from hasse.stages.train.distributed.machines import MachineGroup

if TYPE_CHECKING:
    from hasse.stages.train.passes import Plan
    from hasse.stages.train.run_spec import RunSpec

FOLDER, SPEC = "launch", "spec.json"
PROGRESS, RESULT = "progress.jsonl", "result.json"
POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0
"""How long after the first error of a process the others may take to end before they are killed."""
LAST_LINES = 12
"""Lines of output that are shown of a process that died without an error of its own."""
DEATH = re.compile(r"rank\s*:\s*(\d+) .*?exitcode\s*:\s*(-?\d+)", re.DOTALL)
"""A failed process in the launcher's summary, which lists the first failure last."""


def train_in_processes(job: Job, run_spec: "RunSpec") -> tuple[list[CurvePoint], "Plan"]:
    """Train as `one_run.train_model` does, in processes of this machine and of others. Raises the first error."""
    folder = run_spec.trainer / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = folder / SPEC
    run_spec.write(spec)
    progress = _Progress(folder / PROGRESS, job.progress)
    with MachineGroup.of(job.store, run_spec.settings.launch).announcing(spec) as others:
        run_processes(run_spec, folder, 0, watch=[progress, *(other.check for other in others)])
    return read_result(folder)


def run_processes(run_spec: "RunSpec", folder: Path, machine_rank: int, *, watch: Sequence[Callable[[], None]]) -> None:
    """Run this machine's processes to their end. `watch` functions are called meanwhile; their errors end the run."""
    config = folder / f"machine-{machine_rank}.yaml"
    values = accelerate_config(run_spec.settings.launch, run_spec.settings.optimiser, machine_rank)
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    log = config.with_suffix(".log")
    with log.open("w") as output:
        launcher = subprocess.Popen(
            [*interpreter(), *command(config, folder / SPEC)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(launcher, folder, watch)
        finally:
            _end(launcher)
    failed = launcher.returncode or _reports(folder)
    if failed and log.exists():  # machine 0 clears the folder when the model is saved
        raise _cause(folder, log)


def read_result(folder: Path) -> tuple[list[CurvePoint], "Plan"]:
    """The curve and the plan that the main process wrote."""
    from hasse.stages.train.passes import Plan

    result = json.loads((folder / RESULT).read_text())
    return [CurvePoint(**point) for point in result["points"]], Plan(**result["plan"])


def write_result(folder: Path, points: list[CurvePoint], plan: "Plan") -> None:
    result = {"points": [asdict(point) for point in points], "plan": asdict(plan)}
    write_atomically(folder / RESULT, json.dumps(result))


def write_error(folder: Path, name: str, error: BaseException, trace: str) -> None:
    """Record the error of process or machine `name`. Of several errors the earliest counts."""
    kind, message = type(error).__name__, str(error)
    if problem := disk_problem(error):
        kind, message = StoreError.__name__, disk_message("a file of the training", problem)
    values = {"name": name, "kind": kind, "message": message, "trace": trace, "time": time.time()}
    write_atomically(folder / f"error-{name}.json", json.dumps(values))


class _Progress:
    """Reports the lines that were written since the last call."""

    def __init__(self, path: Path, progress: Callable[[int, int], None]):
        self.path, self.progress, self.read = path, progress, 0

    def __call__(self) -> None:
        if self.path.exists():
            text = self.path.read_text()
            whole = text[: text.rfind("\n") + 1]
            for line in whole[self.read :].splitlines():
                self.progress(*json.loads(line))
            self.read = len(whole)


def _wait(launcher: subprocess.Popen, folder: Path, watch: Sequence[Callable[[], None]]) -> None:
    """Return when the launcher has ended, or when other processes take too long to end after an error."""
    failed: float | None = None
    ended = False
    while not ended:
        ended = launcher.poll() is not None
        for check in watch:
            check()
        time.sleep(POLL_SECONDS)
        if failed is None and _reports(folder):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > GRACE_SECONDS:
            return


def _end(launcher: subprocess.Popen) -> None:
    """End the launcher, which ends its processes. They also end when their standard input closes."""
    assert launcher.stdin is not None
    launcher.stdin.close()
    launcher.terminate()
    try:
        launcher.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def _reports(folder: Path) -> list[dict[str, Any]]:
    """The errors of all processes on all machines, the earliest first."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("error-*.json")), key=lambda r: r["time"])


def _cause(folder: Path, log: Path) -> HasseError:
    """The error to raise: that of a killed process, else one of this project's errors, else any other."""
    reports = _reports(folder)
    for rank, code in reversed(DEATH.findall(log.read_text())):
        if int(code) < 0 and int(code) != -signal.SIGTERM and not (folder / f"error-{rank}.json").exists():
            name = signal.Signals(-int(code)).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return ChildDied(f"training process {rank} was ended by {name}{hint}{_last_output(folder, rank)}")
    ours = [report for report in reports if issubclass(getattr(errors, report["kind"], Exception), HasseError)]
    for report in ours:
        return getattr(errors, report["kind"])(report["message"])
    for report in reports:
        is_second = "peer" in report["message"]
        hint = "\nAnother process may have failed first; see the output of its machine." if is_second else ""
        return ChildDied(f"training process {report['name']} failed:\n{report['trace']}{hint}")
    return ChildDied(f"accelerate's launcher failed:\n{_tail(log)}")


def _last_output(folder: Path, rank: str) -> str:
    path = folder / f"rank-{rank}.log"
    output = _tail(path) if path.exists() else ""
    return f"; its last output:\n{output}" if output else " without output"


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").strip().splitlines()[-LAST_LINES:])
