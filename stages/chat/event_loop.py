"""Iterate over the results of asynchronous work that runs in an event loop in a thread of its own.

A slow consumer therefore delays no request that is under way, and the caller may have a running loop of its own.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

NOT_IN_KEYS = "it carries questions and replies; `request` and `reply` decide what is asked and what is read"

T = TypeVar("T")

Put = Callable[[tuple[int, T]], None]
"""Hands over the result with this index."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def iterate(work: Callable[[Put[T]], Coroutine[None, None, None]]) -> Generator[T, None, None]:
    """Yield the results that `work` puts, in the order of their indices: 0, 1, ...

    An exception of `work` is raised here. Closing the iterator early cancels `work`.
    """
    items: SimpleQueue[tuple[int, T] | _End] = SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(items.put))
    # A daemon thread: a program that ends with a half-read iterator must not go on asking.
    thread = threading.Thread(target=_run, args=(loop, task, items), name="chat", daemon=True)
    thread.start()
    try:
        yield from _in_order(items)
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the work has ended
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


def _in_order(items: SimpleQueue) -> Iterator:
    early, following = {}, 0
    while not isinstance(item := items.get(), _End):
        early |= [item]
        while following in early:
            yield early.pop(following)
            following += 1
    if item.error is not None:
        raise item.error


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], items: SimpleQueue) -> None:
    asyncio.set_event_loop(loop)
    error = None
    try:
        loop.run_until_complete(task)
    except BaseExceptionGroup as group:  # of a task group whose tasks failed for the same reason
        error = _first(group)
    except asyncio.CancelledError:
        pass
    except BaseException as raised:
        error = raised
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        items.put(_End(error))


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
