"""`hasse up` as a user starts it, and its API as its pages call it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def marked(mark: str) -> dict[int, str]:
    """Every process with the mark in its environment: pid -> command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return {pid: line for pid, line in found.items() if line}


class Up:
    """A server with its flows; every process below it carries a mark in its environment."""

    def __init__(self, folder: Path, roots: Path, *options: str, port: int | None = None, **environment: str):
        self.folder, self.port, self.mark = folder, port or free_port(), uuid.uuid4().hex
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = folder / "store"
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "HASSE_"))}
        self.environment = {
            **keep,
            "HASSE_ROOTS": str(roots),
            "HASSE_TEST_MARK": self.mark,
            "HF_HUB_OFFLINE": "1",
            **environment,
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.output = folder / "up.log"
        places = ["--store", str(self.store), "--home", str(folder / "home"), "--port", str(self.port)]
        with self.output.open("w") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hasse.flows.cli.main", "up", *places, *options],
                cwd=ROOT,
                env=self.environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.client = uuid.uuid4().hex
        self.token = ""

    def wait(self, deployments: int) -> "Up":
        """Until so many deployments are there."""
        end = time.monotonic() + 400
        while True:
            assert self.process.poll() is None, self.printed() + self.logs()
            assert time.monotonic() < end, self.logs()
            try:
                self.token = self.token or self.api(f"/csrf-token?client={self.client}")["token"]
                if len(self.deployments()) >= deployments:
                    return self
            except OSError:
                pass
            time.sleep(0.5)

    def printed(self) -> str:
        """What stands on the terminal by now."""
        return self.output.read_text()

    def says(self, *texts: str, seconds: float = 400) -> None:
        """Wait until all of these stand on the terminal."""
        end = time.monotonic() + seconds
        while missing := [text for text in texts if text not in self.printed()]:
            assert time.monotonic() < end, f"{missing} is missing in:\n{self.printed()}\n{self.logs()}"
            time.sleep(0.5)

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted((self.folder / "home").glob("*.log")))

    def api(self, path: str, body=None, method: str | None = None):
        headers = {
            "Content-Type": "application/json",
            "Prefect-Csrf-Token": self.token,
            "Prefect-Csrf-Client": self.client,
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api{path}", data, headers, method=method)
        tries = 0
        while True:
            try:
                text = urllib.request.urlopen(request, timeout=60).read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                tries += 1
                if error.code != 503 or tries == 5:  # 503: its database is busy
                    raise
                time.sleep(2**tries / 4)

    def refusal(self, path: str, body) -> str:
        """What the server says to a request that it must refuse."""
        try:
            self.api(path, body)
        except urllib.error.HTTPError as error:
            return error.read().decode()
        raise AssertionError(f"{path} was accepted")

    def deployments(self) -> dict[str, dict]:
        return {found["name"]: found for found in self.api("/deployments/filter", {"limit": 200})}

    def deployment(self, name: str) -> dict:
        """By its name, or by flow/name where flows share one."""
        return self.api(f"/deployments/name/{name}") if "/" in name else self.deployments()[name]

    def start(self, deployment: str, *, at: datetime | None = None, **parameters):
        """Start a run as the page does, or for a time; gives its id."""
        found = self.deployment(deployment)
        values = {**found["parameters"], **parameters}
        when = {"state_details": {"scheduled_time": at.isoformat()}} if at else {}
        body = {"parameters": values, "state": {"type": "SCHEDULED", **when}}
        return self.api(f"/deployments/{found['id']}/create_flow_run", body)["id"]

    def runs(self, deployment: str, *states: str) -> list[dict]:
        """The runs of a deployment in these states, by type, as they are due."""
        found = {"id": {"any_": [self.deployment(deployment)["id"]]}}
        body = {"deployments": found, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
        return [run for run in self.api("/flow_runs/filter", body) if run["state_type"] in states]

    def until_runs(self, deployment: str, *states: str, seconds: float = 400) -> list[dict]:
        """The runs of a deployment in these states once there is one."""
        end = time.monotonic() + seconds
        while not (found := self.runs(deployment, *states)):
            assert time.monotonic() < end, f"no run of {deployment} is {states}\n{self.logs()}"
            time.sleep(0.5)
        return found

    def run(self, run_id: str) -> dict:
        return self.api(f"/flow_runs/{run_id}", method="GET")

    def until(self, run_id: str, *states: str, seconds: float = 480) -> dict:
        """The run once it is in one of the states, by type."""
        end = time.monotonic() + seconds
        while True:
            found = self.run(run_id)
            if found["state_type"] in states:
                return found
            assert time.monotonic() < end, f"{found['state_name']}\n{self.logs()}"
            time.sleep(0.3)

    def tasks(self, run_id: str, count: int) -> dict[str, str]:
        """Step -> state name of its last try, once the server has recorded so many; it does so a little later."""
        end = time.monotonic() + 60
        while True:
            body = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
            found = {t["name"].partition(" · ")[0]: t for t in self.api("/task_runs/filter", body)}
            states = {name: task["state_name"] for name, task in found.items()}
            if len(states) >= count and not {"Running", "Pending"} & set(states.values()):
                self.task_names = {name: task["name"] for name, task in found.items()}
                return states
            assert time.monotonic() < end, states
            time.sleep(0.5)

    def marked(self) -> dict[int, str]:
        """Every process below: pid -> command line."""
        return marked(self.mark)

    def stop(self, number: int = signal.SIGINT) -> str:
        """As Ctrl-C does; gives what was printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=90)
        return self.printed()
