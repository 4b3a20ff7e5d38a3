"""`hasse up`: a Prefect server and a process that serves the flows, for as long as the command runs."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hasse.data.errors import InputError, WorkError
from hasse.flows.environment import server_environment
from hasse.flows.server.quiet_pages import quieten
from hasse.flows.server.server_watch import ServerWatch

PARENT = "HASSE_UP"
"""The variable that tells the serving process the id of `hasse up`, with which it ends."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
AUTH = "PREFECT_SERVER_API_AUTH_STRING"
PAGES = "PREFECT_SERVER_UI_STATIC_DIRECTORY"
DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"
"""This variable holds the database's password, so only the server gets it."""
START_SECONDS = 180.0
GRACE_SECONDS = 20.0
"""Seconds between asking a process to stop and killing its group."""
PR_SET_PDEATHSIG = 1


def up(*, store: str, recipes: Sequence[str], host: str, port: int, home: Path, limit: int) -> None:
    """Run until Ctrl-C or SIGTERM.

    Raises InputError for an address that others can reach without a password, and WorkError if a process ends.
    """
    auth = os.environ.get(AUTH)
    if host not in LOOPBACK and not auth:
        raise InputError(
            f"--host {host} lets others run code on this machine; set {AUTH}=user:password, or leave --host out"
        )
    home.mkdir(parents=True, exist_ok=True)
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else f'[{host}]' if ':' in host else host}:{port}"
    environment = server_environment(url=url, home=str(home.absolute()), auth=auth)
    with _signals_as_interrupts(), contextlib.ExitStack() as parts:
        _check_free(host, port)
        server = ["-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
        watch = ServerWatch(url, server=home / "server.log", flows=home / "serve.log")
        started = _part(server, environment, home / "server.log", before=_die_with_parent)
        running = {"server": parts.enter_context(started)}
        _wait_for(f"{url}/api/health", running["server"], home / "server.log")
        quieten(Path(environment[PAGES]))
        serve = [
            "-m",
            "hasse.flows.cli.main",
            "serve",
            "--store",
            store,
            "--limit",
            str(limit),
            *_options("--recipe", recipes),
        ]
        below = {name: value for name, value in environment.items() if name != DATABASE} | {PARENT: str(os.getpid())}
        running["flows"] = parts.enter_context(_part(serve, below, home / "serve.log"))
        print(f"UI: {url}\nStore: {store}\nLogs: {home}\nCtrl-C stops all of it.", flush=True)
        _wait_until_one_ends(running, home, watch)


def _options(name: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (name, value)]


@contextlib.contextmanager
def _part(
    command: list[str], environment: Mapping[str, str], log: Path, before: Callable[[], None] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a group of its own, and stop the whole group at the end of the block."""
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
    """Ask Linux for a SIGTERM when the parent dies, even if SIGKILL killed the parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_without_parent() -> bool:
    """Make the serving process end, with every run, once `hasse up` is gone. Returns whether there is a `hasse up`.

    SIGTERM would not do: the process would try for minutes to reach the server, which is gone as well.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()
    return parent is not None


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    for pid in _children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(1)


def _children() -> list[int]:
    """The child processes, on Linux. On other systems runs notice by themselves that their server is gone."""
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
    """Make SIGTERM and a closed terminal end the block as Ctrl-C does."""

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


def _wait_until_one_ends(running: Mapping[str, subprocess.Popen[bytes]], home: Path, watch: ServerWatch) -> None:
    """Print messages about the server and its schedules. Raises WorkError as soon as a process has ended."""
    logs = {"server": home / "server.log", "flows": home / "serve.log"}
    parts = {"server": "the Prefect server", "flows": "the process that serves the flows"}
    while True:
        for name, process in running.items():
            if process.poll() is not None:
                raise WorkError(
                    f"{parts[name]} ended {_how(process.returncode)}; see {logs[name]}:\n{_tail(logs[name])}"
                )
        for line in watch.look():
            print(line, flush=True)
        time.sleep(0.5)


def _how(code: int) -> str:
    return f"with exit code {code}" if code >= 0 else f"by signal {-code} ({signal.Signals(-code).name})"


def _check_free(host: str, port: int) -> None:
    """Raises InputError if another program listens at the port: its answers would be taken for those of our server."""
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, number) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise InputError(
                f"--port {port} of {host} cannot be used ({error.strerror}); stop the program that listens there, "
                f"perhaps another `hasse up`, or give another --port"
            ) from error


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
