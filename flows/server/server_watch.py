"""Tell the user of `hasse up` about errors inside the Prefect server.

A server whose scheduler fails still answers every request. Only its log shows the error.
"""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

RECORD = re.compile(r"^\d\d:\d\d:\d\d\.\d+ \| (?P<level>[A-Z]+) *\| (?P<logger>\S+) - (?P<text>.*)")
CAUSE = re.compile(r"^[A-Za-z_][\w.]*(: .*)?$")
"""The line of a traceback that names the exception: at the left margin, as in `ValueError: ...`."""
ERRORS = ("ERROR", "CRITICAL")
OURS = "hasse."
"""Loggers of the serving process whose records are shown on the terminal unchanged."""
VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|\d+(\.\d+)?")

CONSEQUENCES = {
    "schedule_": "its scheduler fails, so no night may start by itself",
    "services.scheduler": "its scheduler fails, so no night may start by itself",
    "late_run": "its service for late runs fails, so a run that does not start may not be shown as late",
    "triggers": "its triggers fail, so a run whose process is gone may stay Running",
    "actions": "its automations fail, so a run whose process is gone may stay Running",
    "lease": "its service for expired slots fails, so the slot of a killed run may stay taken",
    "taskrunrecorder": "its recorder of task runs fails, so tasks may be missing on the page of a run",
    "task_run_recorder": "its recorder of task runs fails, so tasks may be missing on the page of a run",
    "event": "its service for events fails, so events, and runs whose process is gone, may go unnoticed",
    "cancel": "its service for cancelled runs fails, so a cancelled run may go on",
    "vacuum": "its service that deletes old records fails",
    "logs": "its service for logs fails, so lines may be missing on the page of a run",
}
"""A part of the name of a logger or a service -> what its failure means, for the person at the terminal."""
REPEAT_SECONDS = 600.0
"""An error that persists is repeated after this many seconds."""
QUIET_SECONDS = 1.0
"""A record with its traceback is complete if the log has not grown for this many seconds."""
READY_EVERY, READY_TIMEOUT, UNREADY_SECONDS = 15.0, 5.0, 60.0


@dataclass
class Record:
    """A line of a log with the lines that follow it: `13:59:30.544 | ERROR   | prefect.server.x - Error ...`"""

    level: str
    logger: str
    text: str
    lines: list[str] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """The last line of its traceback that names an exception, or its own text."""
        found = [line for line in self.lines if CAUSE.match(line)]
        return (found[-1] if found else self.text).strip()

    @property
    def service(self) -> str:
        """The text that names the failing service: its logger, and for docket also the function that was running."""
        return f"{self.logger} {self.text}" if self.logger.startswith("docket") else self.logger


class LogFollower:
    """Reads the records that are written to a log from now on, each as soon as it is complete."""

    def __init__(self, path: Path):
        self.path = path
        self.position = path.stat().st_size if path.exists() else 0
        self.rest = ""
        self.open: Record | None = None
        self.grown = time.monotonic()

    def records(self) -> Iterator[Record]:
        for line in self._new_lines():
            match = RECORD.match(line)
            if match:
                if self.open:
                    yield self.open
                self.open = Record(match["level"], match["logger"], match["text"])
            elif self.open:
                self.open.lines.append(line)
        if self.open and time.monotonic() - self.grown > QUIET_SECONDS:
            yield self.open
            self.open = None

    def _new_lines(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.position)
            new = file.read()
        if new:
            self.position, self.grown = self.position + len(new), time.monotonic()
        *lines, self.rest = (self.rest + new.decode(errors="replace")).split("\n")
        return lines


class ServerWatch:
    """Messages for the user of `hasse up`."""

    def __init__(self, url: str, *, server: Path, flows: Path):
        self.url, self.server, self.flows = url, LogFollower(server), LogFollower(flows)
        self.said: dict[str, float] = {}
        self.num_since: dict[str, int] = {}
        self.next_ready = time.monotonic() + READY_EVERY
        self.unready_since: float | None = None
        self.is_unready = False

    def look(self) -> Iterator[str]:
        """The messages since the last call."""
        for record in self.server.records():
            if record.level in ERRORS:
                yield from self._error(record)
        for record in self.flows.records():
            if record.logger.startswith(OURS):
                yield record.text
            elif record.level in ERRORS and "runner" in record.logger:
                yield f"{_clock()} What serves the flows reports an error: {record.cause} (see {self.flows.path})"
        yield from self._readiness()

    def _error(self, record: Record) -> Iterator[str]:
        key = VARYING.sub("", f"{record.service} {record.cause}")
        self.num_since[key] = self.num_since.get(key, 0) + 1
        if time.monotonic() - self.said.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        again = f", {self.num_since[key]} times since this was last said" if key in self.said else ""
        self.said[key], self.num_since[key] = time.monotonic(), 0
        meaning = next((text for part, text in CONSEQUENCES.items() if part in record.service), "")
        says = f"The Prefect server reports an error{again}" + (f": {meaning}" if meaning else "")
        yield f"{_clock()} {says}.\n    {record.cause}\n    See {self.server.path}"

    def _readiness(self) -> Iterator[str]:
        """Whether the server answers and reaches its database."""
        now = time.monotonic()
        if now < self.next_ready:
            return
        problem = _unready(f"{self.url}/api/ready")
        self.next_ready = time.monotonic() + READY_EVERY
        if problem is None:
            if self.is_unready:
                yield f"{_clock()} The Prefect server answers again."
            self.unready_since, self.is_unready = None, False
            return
        self.unready_since = self.unready_since or now
        if not self.is_unready and time.monotonic() - self.unready_since >= UNREADY_SECONDS:
            self.is_unready = True
            yield (
                f"{_clock()} The Prefect server has not answered for {time.monotonic() - self.unready_since:.0f} s "
                f"({problem}): no run starts, and none can report. See {self.server.path}"
            )


def _unready(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=READY_TIMEOUT):
            return None
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}"
    except OSError as error:
        return str(error)


def _clock() -> str:
    return f"{datetime.now():%H:%M}"
