"""Asynchronous work behind a plain iterator: an event loop in a thread of its own.

So a slow consumer delays no request under way, and it works where the caller has a loop running already.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def iterate(work: Callable[[Callable[[T], None]], Coroutine[None, None, None]]) -> Generator[T, None, None]:
    """What `work` puts, as it comes; what it raises is raised. An iterator that is left early cancels it."""
    items: SimpleQueue[T | _End] = SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(items.put))
    # A daemon: a program that ends with an iterator half read must not go on asking.
    thread = threading.Thread(target=_run, args=(loop, task, items), name="chat", daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the work is over
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], items: SimpleQueue) -> None:
    asyncio.set_event_loop(loop)
    error = None
    try:
        loop.run_until_complete(task)
    except BaseExceptionGroup as group:  # a task group's: its tasks failed for one reason, or for as good as one
        error = _first(group)
    except asyncio.CancelledError:
        pass
    except BaseException as found:
        error = found
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        items.put(_End(error))


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
