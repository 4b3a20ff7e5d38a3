"""The processes of a training run that accelerate starts: begun, watched, and brought to a model or to an error.

In the job's folder, while it lasts:

    trainer/launch/spec.json          what to do (hasse.stages.train.run_spec.RunSpec)
                   machine-0.yaml     accelerate's configuration; machine-0.log what its launcher said
                   rank-0.log         what a process said; error-0.json what it failed of
                   progress.jsonl     [step, of so many], by the main process
                   found.json         the curve and the plan, by the main process, when the model is saved

The processes end when their standard input does, so they die with whoever started the launcher, however that ends.
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
from hasse.stages.train.distributed.machines import Meeting

if TYPE_CHECKING:
    from hasse.stages.train.passes import Plan
    from hasse.stages.train.run_spec import RunSpec

FOLDER, SPEC = "launch", "spec.json"
PROGRESS, FOUND = "progress.jsonl", "found.json"
POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0
"""From the first error of a process until those that have not ended of it are killed."""
LAST_WORDS = 12
"""Lines of a process that died without an error of its own."""
DEATH = re.compile(r"rank\s*:\s*(\d+) .*?exitcode\s*:\s*(-?\d+)", re.DOTALL)
"""In the launcher's summary, once for each process that it saw fail, the first one last."""


def learn_together(job: Job, work: "RunSpec") -> tuple[list[CurvePoint], "Plan"]:
    """As `one_run.learn`, by processes of this machine and of others. Raises the error of the first that failed."""
    folder = work.trainer / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    spec = folder / SPEC
    work.write(spec)
    progress = _Progress(folder / PROGRESS, job.progress)
    with Meeting.of(job.store, work.settings.launch).announced(spec) as others:
        take_part(work, folder, 0, watch=[progress, *(other.check for other in others)])
    return read_found(folder)


def take_part(work: "RunSpec", folder: Path, machine_rank: int, *, watch: Sequence[Callable[[], None]]) -> None:
    """Run this machine's processes to their end; `watch` are called meanwhile, and what they raise ends them."""
    config = folder / f"machine-{machine_rank}.yaml"
    values = accelerate_config(work.settings.launch, work.settings.optimiser, machine_rank)
    config.write_text(yaml.safe_dump(values, sort_keys=False))
    log = config.with_suffix(".log")
    with log.open("w") as said:
        launcher = subprocess.Popen(
            [*interpreter(), *command(config, folder / SPEC)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(launcher, folder, watch)
        finally:
            _end(launcher)
    failed = launcher.returncode or _reports(folder)
    if failed and log.exists():  # machine 0 clears the folder when the model is saved
        raise _cause(folder, log)


def read_found(folder: Path) -> tuple[list[CurvePoint], "Plan"]:
    """What the main process left."""
    from hasse.stages.train.passes import Plan

    found = json.loads((folder / FOUND).read_text())
    return [CurvePoint(**point) for point in found["points"]], Plan(**found["plan"])


def write_found(folder: Path, points: list[CurvePoint], plan: "Plan") -> None:
    found = {"points": [asdict(point) for point in points], "plan": asdict(plan)}
    write_atomically(folder / FOUND, json.dumps(found))


def write_report(folder: Path, name: str, error: BaseException, trace: str) -> None:
    """What process or machine `name` failed of; the first word of it counts."""
    kind, said = type(error).__name__, str(error)
    if problem := disk_problem(error):
        kind, said = StoreError.__name__, disk_message("a file of the training", problem)
    values = {"name": name, "kind": kind, "said": said, "trace": trace, "time": time.time()}
    write_atomically(folder / f"error-{name}.json", json.dumps(values))


class _Progress:
    """Hands on the lines that have come since the last call."""

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
    """Until the launcher has ended, or some process has failed and the others take too long to notice."""
    failed: float | None = None
    ended = False
    while not ended:
        ended = launcher.poll() is not None
        for look in watch:
            look()
        time.sleep(POLL_SECONDS)
        if failed is None and _reports(folder):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > GRACE_SECONDS:
            return


def _end(launcher: subprocess.Popen) -> None:
    """The launcher ends its processes when asked to, and these end when their standard input does."""
    assert launcher.stdin is not None
    launcher.stdin.close()
    launcher.terminate()
    try:
        launcher.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def _reports(folder: Path) -> list[dict[str, Any]]:
    """Errors of processes, on whatever machine, the first one first."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("error-*.json")), key=lambda r: r["time"])


def _cause(folder: Path, log: Path) -> HasseError:
    """A process that was killed comes before those that then miss it, and an error of ours before others."""
    reports = _reports(folder)
    for rank, code in reversed(DEATH.findall(log.read_text())):
        if int(code) < 0 and int(code) != -signal.SIGTERM and not (folder / f"error-{rank}.json").exists():
            name = signal.Signals(-int(code)).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return ChildDied(f"training process {rank} was ended by {name}{hint}{_last_words(folder, rank)}")
    ours = [report for report in reports if issubclass(getattr(errors, report["kind"], Exception), HasseError)]
    for report in ours:
        return getattr(errors, report["kind"])(report["said"])
    for report in reports:
        hint = "\nAnother process may have gone first; see what its machine says." if "peer" in report["said"] else ""
        return ChildDied(f"training process {report['name']} failed:\n{report['trace']}{hint}")
    return ChildDied(f"accelerate's launcher failed:\n{_tail(log)}")


def _last_words(folder: Path, rank: str) -> str:
    path = folder / f"rank-{rank}.log"
    words = _tail(path) if path.exists() else ""
    return f"; its last words:\n{words}" if words else " without a word"


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").strip().splitlines()[-LAST_WORDS:])
