"""Run a piece of work in a child process: its memory is freed, its crash costs one stage, it dies with its parent.

Children are forked from a server process that has imported the heavy libraries once, so a stage starts in
milliseconds. The child leads a process group of its own; the whole group is killed when the child falls silent, when
the parent is interrupted, and when the parent goes away (the child notices that its pipe is closed).
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from hasse.data.errors import ChildDied, HasseError, StoreError
from hasse.pipeline.disk import disk_message, disk_problem

HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 300.0
"""A child that is silent for this long counts as dead. Loading a model may block its heartbeat for minutes."""

PRELOAD = ["hasse.stages.train.preload"]

Event = tuple[str, Any]

_MAIN_IS_AWAY = threading.Lock()


def run_in_child(
    function: Callable[..., Any],
    *arguments: Any,
    on_event: Callable[[Any], None],
    silence_seconds: float = SILENCE_SECONDS,
) -> Any:
    """Call `function(*arguments, send)` in a child process and return its result; what it sends goes to `on_event`.

    A HasseError of the child is raised here again. Any other failure, and a death without a message, raise ChildDied.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, function, arguments), name=function.__name__)
    with _without_main():
        child.start()
    theirs.close()
    try:
        result = _listen(ours, child, on_event, silence_seconds)
        child.join(10)
        return result
    finally:
        _kill_group(child)
        ours.close()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from running the user's script again in the child, which needs nothing of that script.

    So a script may call hasse at its top level, without `if __name__ == "__main__"`.
    """
    with _MAIN_IS_AWAY:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _listen(pipe: Connection, child: Any, on_event: Callable[[Any], None], silence_seconds: float) -> Any:
    while True:
        if not pipe.poll(silence_seconds):
            raise ChildDied(f"process {child.pid} gave no sign of life for {silence_seconds:.0f} s and was killed")
        try:
            kind, value = pipe.recv()
        except (EOFError, ConnectionResetError):
            child.join(10)
            raise ChildDied(
                f"process {child.pid} {_cause(child.exitcode)}; run the same command again to go on"
            ) from None
        if kind == "event":
            on_event(value)
        elif kind == "result":
            return value
        elif kind == "error":
            raise value
        elif kind == "crash":
            raise ChildDied(f"process {child.pid} failed:\n{value}")


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"ended with exit code {exitcode} and no result"
    name = signal.Signals(-exitcode).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _kill_group(child: Any) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.join(10)


def _child(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = threading.Lock()

    def send(kind: str, value: Any) -> None:
        try:
            with lock:
                pipe.send((kind, value))
        except OSError:  # the parent has gone: end this process and all that it started
            os.killpg(0, signal.SIGKILL)

    threading.Thread(target=_beat, args=(send,), daemon=True).start()
    try:
        send("result", function(*arguments, lambda value: send("event", value)))
    except HasseError as error:
        send("error", error)
    except Exception as error:
        problem = disk_problem(error)
        if problem:
            send("error", StoreError(disk_message("a file", problem)))
        else:
            send("crash", traceback.format_exc())


def _beat(send: Callable[[str, Any], None]) -> None:
    while True:
        send("alive", None)
        time.sleep(HEARTBEAT_SECONDS)
