"""`hasse up`: a Prefect server and a process that serves the flows, together for as long as the command runs."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from data.errors import InputError, WorkError
from flows.environment import server_environment
from flows.quiet_pages import quieten

PARENT = "HASSE_UP"
"""In the environment of what serves the flows: the process without which it must not go on."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
AUTH = "PREFECT_SERVER_API_AUTH_STRING"
PAGES = "PREFECT_SERVER_UI_STATIC_DIRECTORY"
DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"
"""With the database's password: for the server alone."""
START_SECONDS = 180.0
GRACE_SECONDS = 20.0
"""From asking a process to stop to killing its group."""
PR_SET_PDEATHSIG = 1


def up(*, store: str, recipes: Sequence[str], host: str, port: int, home: Path, limit: int) -> None:
    """Until Ctrl-C or SIGTERM. Raises InputError for an open address without a password, WorkError when a part ends."""
    auth = os.environ.get(AUTH)
    if host not in LOOPBACK and not auth:
        raise InputError(
            f"--host {host} lets others run code on this machine; set {AUTH}=user:password, or leave --host out"
        )
    home.mkdir(parents=True, exist_ok=True)
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else f'[{host}]' if ':' in host else host}:{port}"
    environment = server_environment(url=url, home=str(home.absolute()), auth=auth)
    with _signals_as_interrupts(), contextlib.ExitStack() as parts:
        server = ["-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
        started = _part(server, environment, home / "server.log", before=_die_with_parent)
        running = {"server": parts.enter_context(started)}
        _wait_for(f"{url}/api/health", running["server"], home / "server.log")
        quieten(Path(environment[PAGES]))
        serve = ["-m", "flows.cli", "serve", "--store", store, "--limit", str(limit), *_options("--recipe", recipes)]
        below = {name: value for name, value in environment.items() if name != DATABASE} | {PARENT: str(os.getpid())}
        running["flows"] = parts.enter_context(_part(serve, below, home / "serve.log"))
        print(f"UI: {url}\nStore: {store}\nLogs: {home}\nCtrl-C stops all of it.", flush=True)
        _wait_until_one_ends(running, home)


def _options(name: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (name, value)]


@contextlib.contextmanager
def _part(
    command: list[str], environment: Mapping[str, str], log: Path, before: Callable[[], None] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is gone with all it started when the block ends."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=before,
        )
    try:
        yield process
    finally:
        _stop(process)


def _die_with_parent() -> None:
    """Linux: be asked to stop even when the parent was killed outright."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_without_parent() -> None:
    """In what serves the flows: once `hasse up` is gone, killed outright, end with every run.

    Asking it to stop would not do: it would try for minutes to tell a server that is gone as well.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    for pid in _children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(1)


def _children() -> list[int]:
    """Linux; elsewhere the runs find that their server is gone."""
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in path.read_text().split()]
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """SIGTERM and a closed terminal end the block as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        if server.poll() is not None:
            raise WorkError(f"the Prefect server ended with exit code {server.returncode}:\n{_tail(log)}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2)
            return
        if time.monotonic() > end:
            raise WorkError(f"the Prefect server did not answer within {START_SECONDS:.0f} s; see {log}")
        time.sleep(0.5)


def _wait_until_one_ends(running: Mapping[str, subprocess.Popen[bytes]], home: Path) -> None:
    logs = {"server": home / "server.log", "flows": home / "serve.log"}
    while True:
        for name, process in running.items():
            if process.poll() is not None:
                raise WorkError(f"{name} ended with exit code {process.returncode}:\n{_tail(logs[name])}")
        time.sleep(0.5)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
