"""Leases in a store that several machines share. The holder works alone, and its lease expires if it dies.

A lease is an object that is written under a condition, so only one of two machines gets it. The holder renews the lease
while it works. The clocks of the machines must agree to within a few minutes.
"""

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator

from hasse.data.errors import StoreError
from hasse.pipeline.remote.conditional import ConditionalObjects, Conflict

LEASE_SECONDS = 600.0
RENEWALS = 5
"""How often a lease is renewed within its duration, so that a few requests may fail."""


class Leased(StoreError):
    """Another machine holds the lease. The message names it, and the time that is left."""


@contextlib.contextmanager
def lease(objects: ConditionalObjects, name: str, *, seconds: float = LEASE_SECONDS) -> Iterator[None]:
    """Hold the lease of this name for the duration of the block. Raises Leased."""
    version = _take(objects, name, seconds)
    done = threading.Event()
    versions = [version]

    def renew() -> None:
        while not done.wait(seconds / RENEWALS):
            with contextlib.suppress(StoreError):  # writes under the lease have conditions of their own
                versions[0] = objects.write(name, _content(seconds), versions[0])

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(StoreError):  # the lease expires by itself
            objects.write(name, _content(0), versions[0])


def _take(objects: ConditionalObjects, name: str, seconds: float) -> str:
    held = objects.read(name)
    if held is not None:
        holder, until = _holder(held[0])
        if until > time.time():
            raise Leased(f"{holder}, whose lease ends in {until - time.time():.0f} s unless it is renewed")
    try:
        return objects.write(name, _content(seconds), held[1] if held else None)
    except Conflict as error:
        raise Leased("another machine, which has just begun") from error


def _content(seconds: float) -> bytes:
    who = f"process {os.getpid()} on {platform.node()}"
    return json.dumps({"holder": who, "until": time.time() + seconds, "nonce": os.urandom(8).hex()}).encode()


def _holder(content: bytes) -> tuple[str, float]:
    """The holder and the end of a lease. A lease that cannot be read has no holder."""
    try:
        values = json.loads(content)
        return str(values["holder"]), float(values["until"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "nobody", 0.0
