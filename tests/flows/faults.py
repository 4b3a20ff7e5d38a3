"""Kills of a run at moments of its plan, by what the undisturbed run took; and ways to start it again."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hasse.flows.run import listing
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.store import Store
from hasse.stages.chat.cache.file import path_in
from hasse.stages.chat.money.spending import SPENT
from tests.flows.prefect_up import ENDED, Up, marked
from tests.stages.chat_server import Act, ChatServer, choices, completion

PATIENCE = 300.0
ONCE_MORE = 1.0
"""Seconds that a step takes to get back to where it was: a client or a model is loaded again."""


def until(reached: Callable[[], Any], *, seconds: float = PATIENCE, what: Callable[[], object] = str) -> Any:
    """What it gives once that is something."""
    end = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < end, what()
        time.sleep(0.005)
    return found


def children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in path.read_text().split()]
        except OSError:
            continue
    return found


# Moments


@dataclass(frozen=True, kw_only=True)
class Moment:
    """So many seconds into the step of that number, or on from the last moment where that lies in the same step."""

    index: int
    seconds: float


def moments(chance: random.Random, lasted: Sequence[float], number: int, among: Sequence[int]) -> list[Moment]:
    """One in each of so many equal parts of the time that these steps took together, in order."""
    total = sum(lasted[i] for i in among)
    found: list[Moment] = []
    reached = [0.0] * len(lasted)
    for part in range(number):
        left = (part + chance.random()) * total / number
        index = next(i for i in among if (left := left - lasted[i]) < 0)
        seconds = left + lasted[index]
        on = seconds - reached[index] + ONCE_MORE if reached[index] else seconds
        found.append(Moment(index=index, seconds=on))
        reached[index] = seconds
    return found


@dataclass(kw_only=True)
class Flow:
    """A flow that is started again until it is done.

    names: the steps of its plan. with_child: those of them that compute in a process of their own.
    """

    store: Path
    names: Sequence[str]
    with_child: frozenset[int]

    def records(self) -> dict[str, dict[str, Any]]:
        """run_id -> what is recorded of it."""
        found = [json.loads(path.read_text()) for path in (self.store / "runs").glob("*.json")]
        return {run["run_id"]: run for run in found}

    def status(self, run_id: str) -> str:
        """As `hasse ls --runs` has it."""
        return {row["run"]: row["status"] for row in listing.run_rows(Store(self.store))}[run_id]


class Typed:
    """A try by a command at a terminal."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def runner(self) -> int | None:
        return self.process.pid

    def ended(self) -> bool:
        return self.process.poll() is not None

    def done(self, *, well: bool) -> None:
        out, error = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode == 0) == well, out + error

    def stop(self) -> None:
        self.process.kill()
        print(*filter(None, self.process.communicate()))


class Served:
    """A try by the process that serves the flows."""

    def __init__(self, up: Up, start: Callable[[], str]):
        self.up = up
        (self.serving,) = [pid for pid, line in up.marked().items() if "hasse.flows.cli.main serve" in line]
        self.before = set(children(self.serving))
        self.run_id = start()
        self._looked, self._ended = 0.0, False

    def runner(self) -> int | None:
        return next(iter(set(children(self.serving)) - self.before), None)

    def ended(self) -> bool:
        """As of a second ago: asking more often would slow the server down."""
        if time.monotonic() > self._looked + 1:
            self._looked, self._ended = time.monotonic(), self.up.run(self.run_id)["state_type"] in ENDED
        return self._ended

    def done(self, *, well: bool) -> None:
        state = self.up.until(self.run_id, *ENDED, seconds=PATIENCE)["state"]
        assert (state["type"] == "COMPLETED") == well, state["message"]
        until(lambda: self.runner() is None)

    def stop(self) -> None:
        if (pid := self.runner()) is not None:
            os.kill(pid, signal.SIGKILL)
        print(self.run_id, self.up.run(self.run_id)["state"]["message"])


@dataclass(kw_only=True)
class Blow:
    """Where a kill fell: the run, and the step that it was at."""

    run_id: str
    step: str
    whom: str
    way: str
    checkpoints: int
    """Of the step, when it was killed."""


def strike(flow: Flow, tried: Typed | Served, before: set[str], moment: Moment, *, whom: str, way: str) -> Blow:
    """Kill -9 its runner, or the child of it, at that moment of its plan; at the latest while there is one to kill."""
    last = max(flow.with_child) if whom == "child" else len(flow.names) - 1

    def wait(reached: Callable[[], Any]) -> Any:
        def look() -> Any:
            found = reached()
            assert found or not tried.ended(), f"it ended before the kill at {moment}"
            return found

        return until(look)

    runner = wait(tried.runner)
    run_id = wait(lambda: next(iter(flow.records().keys() - before), None))

    def position() -> int:
        return len(flow.records()[run_id]["steps"])

    def child() -> int | None:
        return next((pid for server in children(runner) for pid in children(server)), None)

    wait(lambda: position() >= moment.index)
    if whom == "child" or moment.index in flow.with_child:
        wait(lambda: child() or position() > moment.index)
    end = time.monotonic() + moment.seconds
    wait(lambda: time.monotonic() >= end or position() >= last)
    assert flow.status(run_id) == "running"
    while True:
        target = wait(child) if whom == "child" else runner
        step = flow.names[position()]
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:  # that child has done its work
            continue
        saved = list(flow.store.glob("*/.work-*/trainer/checkpoint-*/trainer_state.json"))
        return Blow(run_id=run_id, step=step, whom=whom, way=way, checkpoints=len(saved))


def until_gone(mark: str, but: set[int]) -> None:
    """Every process with the mark but these."""

    def left() -> dict[int, str]:
        return {pid: line for pid, line in marked(mark).items() if pid not in but}

    until(lambda: not left(), seconds=60, what=left)


# The endpoint, and what is paid for


class Endpoint(ChatServer):
    """Answers as a function of the question alone, after a while; a request is known by its content."""

    def __init__(self, labels: Sequence[str], delay: float):
        super().__init__(lambda asked: Act(body=self.reply(asked.body, asked.text), delay=delay))
        self.labels = labels

    def reply(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        chance = random.Random(text)
        if "response_format" not in body:
            return choices(*(f"For reason {i}.\nlabel: {chance.choice(self.labels)}" for i in range(body["n"])))
        shown = [line.split("]")[0] for line in text.split("[Answer ")[1:]]
        aspects = ("correctness", "helpfulness", "clarity")
        entries = [{"tag": tag, "scores": {aspect: chance.randint(1, 9) for aspect in aspects}} for tag in shown]
        return completion(json.dumps({"candidates": entries}))

    def keys(self, since: int) -> Counter[tuple[str, str]]:
        """(step, key of the client's cache) -> how often it was asked, from that request on."""
        return Counter(
            (
                "judge" if "response_format" in asked.body else "generate",
                digest({"base_url": f"{self.url}/", "body": asked.body}),
            )
            for asked in self.asked[since:]
        )


@dataclass
class Bill:
    """What was asked try by try, beside what the client has kept: nothing that it has may be asked again."""

    server: Endpoint
    store: Path
    first: int
    seen: set[tuple[str, str]] = field(default_factory=set)
    lost: set[tuple[str, str]] = field(default_factory=set)
    again: int = 0
    under_way: int = 0
    _before: bytes = b""

    def after(self, *, killed: bool) -> None:
        """Check the requests since the last call."""
        asked = self.server.keys(self.first)
        self.first += asked.total()
        assert set(asked.values()) <= {1}, "a request was sent twice within one try"
        again = asked.keys() & self.seen
        assert again <= self.lost, f"{len(again - self.lost)} requests were paid twice"
        self.again += len(again)
        self.seen |= asked.keys()
        self.lost -= asked.keys()
        if killed:
            kept = self._kept()
            lost = {(step, key) for step, key in asked if key not in kept}
            open_ = self._under_way()
            assert len(lost) <= open_, f"{len(lost)} answers are not kept, {open_} were under way"
            self.lost |= lost
            self.under_way += open_

    def _kept(self) -> set[str]:
        """Keys of the replies that the store keeps."""
        path = path_in(self.store)
        if not path.exists():
            return set()
        with closing(sqlite3.connect(path)) as db:
            return {key for (key,) in db.execute("select key from reply")}

    def _under_way(self) -> int:
        """Requests that the log of the last try has reserved money for, and not settled."""
        found, lines = 0, b""
        for path in sorted(self.store.glob(f"*/.work-*/logs/{SPENT}")):
            lines += path.read_bytes()
        for line in lines.splitlines() if lines != self._before else ():
            if not line.endswith(b"}"):  # broken off: that request was not sent
                continue
            reserved = json.loads(line).get("reserved", 0.0)
            found += (reserved > 0) - (reserved < 0)
        self._before = lines
        return found
