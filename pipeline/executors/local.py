"""Executor `local`: this process, part after part, or a few at a time in threads."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from hasse.data.settings import Config
from hasse.pipeline.executors import Computation, Part, Rows


class Settings(Config):
    executor: Literal["local"] = "local"


def computed(parts: Iterable[Part], work: Computation, settings: Settings) -> Iterator[tuple[Part, Rows]]:
    """Each part with its rows, in order. What a failed part leaves behind it is not begun."""
    if not work.ahead:
        for part in parts:
            yield part, work.rows(part)
        return
    pool = ThreadPoolExecutor(work.ahead + 1)
    begun: deque[tuple[Part, Future[Rows]]] = deque()
    try:
        for part in parts:
            begun.append((part, pool.submit(work.rows, part)))
            if len(begun) > work.ahead:
                part, rows = begun.popleft()
                yield part, rows.result()
        for part, rows in begun:
            yield part, rows.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
