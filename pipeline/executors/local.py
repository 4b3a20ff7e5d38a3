"""Executor `local`: this process computes part after part, or a few parts at a time in threads."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from hasse.data.settings import Config
from hasse.pipeline.executors import Computation, Part, Rows


class Settings(Config):
    """The executor of this process has no options."""

    executor: Literal["local"] = "local"


def computed(parts: Iterable[Part], work: Computation, settings: Settings) -> Iterator[tuple[Part, Rows]]:
    """Yield each part with its rows, in order. After a failure, no further part is pending."""
    if not work.ahead:
        for part in parts:
            yield part, work.rows(part)
        return
    pool = ThreadPoolExecutor(work.ahead + 1)
    pending: deque[tuple[Part, Future[Rows]]] = deque()
    try:
        for part in parts:
            pending.append((part, pool.submit(work.rows, part)))
            if len(pending) > work.ahead:
                part, rows = pending.popleft()
                yield part, rows.result()
        for part, rows in pending:
            yield part, rows.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
