"""Coordinates the machines of a run by files in a folder of the store that they share.

    store/.launch/<address>-<port>/machine-0.json  {"beat": 17, "status": "running"}, by `hasse launch` on each machine
                                   task.json       {"task": "...", "spec": "train/.work-.../spec.json"} while one trains

A machine is alive as long as the number of its heartbeat changes. A heartbeat from before this process looked does not
count, and the clocks of two machines are never compared.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError, WorkError
from hasse.pipeline.files import write_atomically
from hasse.pipeline.store import Store
from hasse.stages.train.distributed.settings import LaunchSettings

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 60.0
"""A machine without a new heartbeat for so long counts as dead."""
PATIENCE_SECONDS = 1800.0
"""How long machine 0 waits for the others."""


class ObservedMachine:
    """Another machine, observed through its heartbeat file."""

    def __init__(self, folder: Path, rank: int):
        self.path, self.rank = _path(folder, rank), rank
        self.last, self.time, self.is_there = _read(self.path), time.monotonic(), False

    def status(self) -> str:
        """absent, running, done or failed."""
        found = _read(self.path)
        if found != self.last:
            self.last, self.time, self.is_there = found, time.monotonic(), True
        return found["status"] if found and self.is_there else "absent"

    def check(self) -> None:
        """Raises WorkError when the machine has left the run, or has no new heartbeat for SILENCE_SECONDS."""
        status = self.status()
        if status in ("done", "failed"):
            raise WorkError(f"machine {self.rank} has left the run ({status}); its own output says more")
        if time.monotonic() - self.time > SILENCE_SECONDS:
            raise WorkError(
                f"machine {self.rank} has had no heartbeat for {SILENCE_SECONDS:.0f} s; "
                "start `hasse launch` on all machines again to resume"
            )

    def wait_until_running(self, seconds: float) -> bool:
        """Wait at most so many seconds, and return whether the machine is running."""
        end = time.monotonic() + seconds
        while self.status() != "running":
            if time.monotonic() > end:
                return False
            time.sleep(BEAT_SECONDS / 5)
        return True


@dataclass(frozen=True)
class MachineGroup:
    """The machines of a run with the store at `root`. With one machine no files are written."""

    root: Path
    folder: Path
    machines: int

    @staticmethod
    def of(store: Store, launch: LaunchSettings) -> "MachineGroup":
        name = f"{launch.main_address}-{launch.main_port}"
        return MachineGroup(store.root, store.root / ".launch" / name, launch.machines)

    @contextlib.contextmanager
    def waited_for(self, say: Callable[[str], None]) -> Iterator[None]:
        """Let machine 0 wait for all machines around its run. Raises WorkError when a machine does not come."""
        if self.machines == 1:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "task.json").unlink(missing_ok=True)
        for other in self._others():
            say(f"waiting for machine {other.rank}")
            if not other.wait_until_running(PATIENCE_SECONDS):
                raise WorkError(f"machine {other.rank} has not come; start `hasse launch` with --machine-rank there")
        with heartbeat(self.folder, 0):
            yield

    def check_hasse_launch(self) -> None:
        """Raises InputError for several machines without `hasse launch`."""
        if self.machines > 1 and not ObservedMachine(self.folder, 0).wait_until_running(5 * BEAT_SECONDS):
            raise InputError(
                f"launch.machines: {self.machines}; start `hasse launch` with this recipe on each machine, "
                "not `hasse run`"
            )

    @contextlib.contextmanager
    def announcing(self, spec: Path) -> Iterator[list[ObservedMachine]]:
        """Let machine 0 tell the other machines to join a training run, and give them."""
        if self.machines == 1:
            yield []
            return
        self.check_hasse_launch()
        others = self._others()
        task = {"task": uuid.uuid4().hex, "spec": str(spec.resolve().relative_to(self.root.resolve()))}
        write_atomically(self.folder / "task.json", json.dumps(task))
        try:
            yield others
        finally:
            (self.folder / "task.json").unlink(missing_ok=True)

    def task(self) -> tuple[str, Path] | None:
        """The training run under way, if any: its name, and the path of its spec."""
        found = _read(self.folder / "task.json")
        return (found["task"], self.root / found["spec"]) if found else None

    def _others(self) -> list[ObservedMachine]:
        return [ObservedMachine(self.folder, rank) for rank in range(1, self.machines)]


@dataclass
class _Heartbeat:
    path: Path
    number: int = field(default_factory=time.monotonic_ns)  # larger than the last of an earlier heartbeat
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.wait(BEAT_SECONDS):
            self.write("running")

    def write(self, status: str) -> None:
        self.number += 1
        write_atomically(self.path, json.dumps({"beat": self.number, "status": status}))


@contextlib.contextmanager
def heartbeat(folder: Path, rank: int) -> Iterator[None]:
    """Write this machine's heartbeat, and at the end whether its part failed."""
    folder.mkdir(parents=True, exist_ok=True)
    beat, status = _Heartbeat(_path(folder, rank)), "failed"
    thread = threading.Thread(target=beat.run, daemon=True)
    thread.start()
    try:
        yield
        status = "done"
    finally:
        beat.stop.set()
        thread.join()
        beat.write(status)


def _path(folder: Path, rank: int) -> Path:
    return folder / f"machine-{rank}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
