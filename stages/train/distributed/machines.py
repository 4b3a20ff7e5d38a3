"""How the machines of a run find each other's work: a folder of the store that they share.

    store/.launch/<address>-<port>/machine-0.json  {"beat": 17, "status": "running"}, by `hasse launch` on each machine
                                   task.json       {"task": "...", "spec": "train/.work-.../spec.json"} while one trains

A machine is there as long as its beat goes on. What was there before does not count, and times on the clocks of two
machines are never compared.
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
"""Without a beat for so long a machine is taken for dead."""
PATIENCE_SECONDS = 1800.0
"""For machines to come."""


class Heard:
    """A machine, as another process hears it."""

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
        """Raises WorkError when the machine has left, or has fallen silent."""
        status = self.status()
        if status in ("done", "failed"):
            raise WorkError(f"machine {self.rank} has left the run ({status}); its own output says more")
        if time.monotonic() - self.time > SILENCE_SECONDS:
            raise WorkError(
                f"machine {self.rank} gave no sign of life for {SILENCE_SECONDS:.0f} s; "
                "start `hasse launch` on all machines again to go on"
            )

    def comes(self, within: float) -> bool:
        """Wait for it, at most so many seconds."""
        end = time.monotonic() + within
        while self.status() != "running":
            if time.monotonic() > end:
                return False
            time.sleep(BEAT_SECONDS / 5)
        return True


@dataclass(frozen=True)
class Meeting:
    """Of the machines of a run over the store at `root`; where there is one alone, nobody is told anything."""

    root: Path
    folder: Path
    machines: int

    @staticmethod
    def of(store: Store, launch: LaunchSettings) -> "Meeting":
        name = f"{launch.main_address}-{launch.main_port}"
        return Meeting(store.root, store.root / ".launch" / name, launch.machines)

    @contextlib.contextmanager
    def hosted(self, say: Callable[[str], None]) -> Iterator[None]:
        """On machine 0, around its run, which begins when all are there. Raises WorkError when one does not come."""
        if self.machines == 1:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "task.json").unlink(missing_ok=True)
        for other in self._others():
            say(f"waiting for machine {other.rank}")
            if not other.comes(PATIENCE_SECONDS):
                raise WorkError(f"machine {other.rank} has not come; start `hasse launch` with --machine-rank there")
        with beating(self.folder, 0):
            yield

    def check_hosted(self) -> None:
        """Raises InputError where several machines are wanted, and `hasse launch` was not started."""
        if self.machines > 1 and not Heard(self.folder, 0).comes(5 * BEAT_SECONDS):
            raise InputError(
                f"launch.machines: {self.machines}; start `hasse launch` with this recipe on each machine, "
                "not `hasse run`"
            )

    @contextlib.contextmanager
    def announced(self, spec: Path) -> Iterator[list[Heard]]:
        """On machine 0, around a training run that the others join; gives these."""
        if self.machines == 1:
            yield []
            return
        self.check_hosted()
        others = self._others()
        task = {"task": uuid.uuid4().hex, "spec": str(spec.resolve().relative_to(self.root.resolve()))}
        write_atomically(self.folder / "task.json", json.dumps(task))
        try:
            yield others
        finally:
            (self.folder / "task.json").unlink(missing_ok=True)

    def task(self) -> tuple[str, Path] | None:
        """What is being trained: its name, and where its spec lies."""
        found = _read(self.folder / "task.json")
        return (found["task"], self.root / found["spec"]) if found else None

    def _others(self) -> list[Heard]:
        return [Heard(self.folder, rank) for rank in range(1, self.machines)]


@dataclass
class _Beat:
    path: Path
    number: int = field(default_factory=time.monotonic_ns)  # not where an earlier one has stopped
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.wait(BEAT_SECONDS):
            self.say("running")

    def say(self, status: str) -> None:
        self.number += 1
        write_atomically(self.path, json.dumps({"beat": self.number, "status": status}))


@contextlib.contextmanager
def beating(folder: Path, rank: int) -> Iterator[None]:
    """Say that this machine is there, and at last how its part ended."""
    folder.mkdir(parents=True, exist_ok=True)
    beat, status = _Beat(_path(folder, rank)), "failed"
    thread = threading.Thread(target=beat.run, daemon=True)
    thread.start()
    try:
        yield
        status = "done"
    finally:
        beat.stop.set()
        thread.join()
        beat.say(status)


def _path(folder: Path, rank: int) -> Path:
    return folder / f"machine-{rank}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
