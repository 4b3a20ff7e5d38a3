"""Start the command `hasse` without its imports: a process that has imported everything once forks for each command.

The fork is a process of its own, with its own arguments, environment and streams; signals and `kill -9` reach it as
they reach one that was started cold. What is shared is the forkserver, from which a run's child processes are forked:
it has imported torch and transformers, which takes each cold run ten seconds. Its environment is the one in which it
was started, so a command with variables of its own is to be started cold.
"""

import array
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from importlib import import_module
from multiprocessing.forkserver import ForkServer, ensure_running, set_forkserver_preload
from pathlib import Path
from pkgutil import iter_modules

from hasse.flows.cli.main import main
from hasse.pipeline.child_process import PRELOAD
from hasse.pipeline.code import code_digests, modules_behind

ROOT = Path(__file__).parents[2]
ROOMS = ("cli", "recipe", "plan", "run")
"""The rooms of flows whose commands start without Prefect."""


class Warm:
    """The client's side: one process for all commands of a pytest worker."""

    def __init__(self, environment: dict[str, str]):
        self.environment = environment
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.flows.warm", str(theirs.fileno())],
                cwd=ROOT,
                env=environment | {"PYTHONPATH": os.pathsep.join((str(ROOT / "python"), str(ROOT)))},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def start(self, arguments: list[str], environment: dict[str, str]) -> "Command":
        """The command, started as `hasse ARGUMENTS` in the root of the repository."""
        (out, out_end), (error, error_end), (code, code_end) = os.pipe(), os.pipe(), os.pipe()
        ends = array.array("i", [out_end, error_end, code_end])
        request = json.dumps({"arguments": arguments, "environment": environment}).encode()
        self._socket.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ends)])
        for end in ends:
            os.close(end)
        pid = int(self._socket.recv(32))
        return Command(pid, out, error, code)

    def stop(self) -> None:
        self._socket.close()
        self._process.wait(60)


class Command:
    """A running command, with the part of Popen's interface that tests use. Its output is text."""

    def __init__(self, pid: int, out: int, error: int, code: int):
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = open(out, encoding="utf-8")  # noqa: SIM115  closed by communicate or by __exit__
        self.stderr = open(error, encoding="utf-8")  # noqa: SIM115
        self._code = code

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *error: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()

    def poll(self) -> int | None:
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("hasse", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All of the two outputs, once both have ended."""
        parts: dict[int, bytes] = {self.stdout.fileno(): b"", self.stderr.fileno(): b""}
        with selectors.DefaultSelector() as selector:
            for stream in parts:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(timeout)
                if not ready:
                    raise subprocess.TimeoutExpired("hasse", timeout or 0)
                for key, _ in ready:
                    if read := os.read(key.fd, 65536):
                        parts[key.fd] += read
                    else:
                        selector.unregister(key.fd)
        out, error = (part.decode() for part in parts.values())
        with self:
            return out, error

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._code, selectors.EVENT_READ)
                if selector.select(timeout):
                    self.returncode = int(os.read(self._code, 32))
                    os.close(self._code)
        return self.returncode


def serve(requests: socket.socket) -> None:
    """Fork for each request until the client has gone."""
    set_forkserver_preload(PRELOAD)
    ensure_running()
    for room in ROOMS:
        for module in iter_modules([str(ROOT / "flows" / room)]):
            import_module(f"hasse.flows.{room}.{module.name}")
    code_digests(modules_behind(name for name in sys.modules if name.startswith("hasse.stages.")))  # they are cached
    ForkServer.ensure_running = lambda self: None  # a fork cannot wait for it: it is no child of the fork
    running: dict[int, int] = {}
    awake, wake = socket.socketpair()
    for end in (awake, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(awake, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if awake in ready:
                awake.recv(4096)
                for pid in [pid for pid in running if _has_ended(pid, running)]:
                    del running[pid]
            if requests in ready:
                message, ancillary, _, _ = requests.recvmsg(1 << 20, socket.CMSG_SPACE(12))
                if not message:
                    return
                out, error, code = array.array("i", ancillary[0][2])
                pid = os.fork()
                if pid == 0:
                    break
                os.close(out)
                os.close(error)
                running[pid] = code
                requests.send(str(pid).encode())
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for end in (requests, awake, wake):
        end.close()
    for end in (code, *running.values()):
        os.close(end)
    _become(out, error, **json.loads(message))
    main()


def _has_ended(pid: int, running: dict[int, int]) -> bool:
    found, status = os.waitpid(pid, os.WNOHANG)
    if found:
        os.write(running[pid], str(os.waitstatus_to_exitcode(status)).encode())
        os.close(running[pid])
    return bool(found)


def _become(out: int, error: int, arguments: list[str], environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, place in ((out, 1), (error, 2)):
        os.dup2(stream, place)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["hasse", *arguments]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
