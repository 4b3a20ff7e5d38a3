"""Executor `ray`: actors on a Ray cluster compute the chunks of map stages, and keep the models that they have loaded.

An actor that dies, alone or with its node, is started again where there is room; other actors take over its chunks. The
process that runs the stage writes the rows, so finished chunks are kept whatever happens to the cluster. Each node
needs this package, the plugs from outside and the store, at the same paths.
"""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import HasseError, InputError, WorkError
from hasse.data.settings import Config
from hasse.data.settings.plugs.outside import plugs_environment
from hasse.pipeline.executors import Computation, Part, Rows

LOOK_SECONDS = 10.0
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class Settings(Config):
    """The Ray cluster, and the size and number of its actors."""

    executor: Literal["ray"] = "ray"
    address: str = Field(
        default="auto",
        description="The cluster's address: host:port, ray://host:port, or auto for this machine's cluster.",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="Actors of a stage. Left out: one for each GPU, or for each node if the stage needs no GPU.",
    )
    cpus: float = Field(default=1, ge=0, description="CPUs of each actor.")
    gpus: int = Field(
        default=1, ge=0, description="GPUs of each actor of a stage with a model; 0 on a cluster of CPUs."
    )
    tries: int = Field(default=3, ge=1, description="How often a chunk is begun if its actors die.")
    patience: float = Field(default=600, gt=0, description="Seconds without any actor after which the stage fails.")


class _Actor:
    """A Ray actor. What `compute` loads stays loaded from one part to the next."""

    def __init__(self, work: Computation):
        self.work = work

    def rows(self, part: Part) -> Rows:
        return self.work.rows(part)

    def ready(self) -> None:
        """Return as soon as the actor runs."""


@dataclass(eq=False)
class _Worker:
    """An actor as this process sees it. `is_up` is false before it starts, and from its death until its restart."""

    actor: Any
    load: int = 0
    is_up: bool = False


@dataclass
class _Team:
    """The workers and their tasks.

    in_hand: reference of a result -> (part, number of the try, worker). An entry without a part waits for its worker.
    """

    ray: Any
    workers: list[_Worker]
    settings: Settings
    room: int
    in_hand: dict[Any, tuple[Part | None, int, _Worker]] = field(default_factory=dict)
    lost: list[tuple[Part, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for worker in self.workers:
            self._await(worker)

    def has_room(self) -> bool:
        """Hand out the lost parts; returns whether a worker can take another part."""
        while self.lost and self._free():
            self.give(*self.lost.pop())
        return not self.lost and bool(self._free())

    def has_work(self) -> bool:
        return bool(self.lost) or any(part is not None for part, _, _ in self.in_hand.values())

    def give(self, part: Part, tried: int = 0) -> None:
        """Give the part to the free worker with the fewest parts. There must be a free worker."""
        worker = min(self._free(), key=lambda w: w.load)
        worker.load += 1
        self.in_hand[worker.actor.rows.remote(part)] = part, tried + 1, worker

    def next(self) -> Iterator[tuple[Part, Rows]]:
        """Wait for the next event; yields a finished part, or nothing if a worker died or came back."""
        done, _ = self.ray.wait(list(self.in_hand), num_returns=1, timeout=self._timeout())
        if not done:
            raise WorkError(
                f"the cluster has had no worker for {self.settings.patience:g} s; run the same command again"
            )
        part, tried, worker = self.in_hand.pop(done[0])
        if part is None:
            worker.is_up = True
            return
        worker.load -= 1
        try:
            rows = self.ray.get(done[0])
        except self.ray.exceptions.RayTaskError as error:
            raise _own_error(error) from None
        except self.ray.exceptions.RayError as error:
            if worker.is_up:
                self._await(worker)
            if tried >= self.settings.tries:
                raise WorkError(f"a chunk took {tried} workers with it; the last: {error}") from error
            self.lost.append((part, tried))
            return
        yield part, rows

    def _free(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.is_up and worker.load < self.room]

    def _timeout(self) -> float | None:
        return None if any(worker.is_up for worker in self.workers) else self.settings.patience

    def _await(self, worker: _Worker) -> None:
        worker.is_up = False
        self.in_hand[worker.actor.ready.remote()] = None, 0, worker

    def end(self) -> None:
        for worker in self.workers:
            self.ray.kill(worker.actor)


def computed(parts: Iterable[Part], work: Computation, settings: Settings) -> Iterator[tuple[Part, Rows]]:
    """Yield each part with its rows when it is finished. Raises InputError if the cluster cannot hold one actor."""
    # Ray prints messages about its nodes; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr), _connected(settings) as ray:
        shared = ray.put(work)  # kept to the end, since an actor that is started again reads it again
        actors = _start(ray, shared, settings, gpus=min(work.gpus, settings.gpus), room=work.ahead + 1)
        team = _Team(ray, [_Worker(actor) for actor in actors], settings, room=work.ahead + 1)
        try:
            for part in parts:
                while not team.has_room():
                    yield from team.next()
                team.give(part)
            while team.has_work():
                team.has_room()
                yield from team.next()
        finally:
            team.end()


@contextlib.contextmanager
def _connected(settings: Settings) -> Iterator[Any]:
    """Connect Ray to the cluster for the duration of the block. Raises InputError."""
    os.environ.update(QUIET)
    try:
        import ray
    except ImportError as error:
        raise InputError("the executor ray needs the package ray: pip install 'hasse-llm[ray]'") from error
    try:
        _look_for(settings.address)
        ray.init(
            address=settings.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": plugs_environment()},
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"no Ray cluster at {settings.address!r} ({error}); `ray start --head` starts one") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _look_for(address: str) -> None:
    """Raises OSError if nothing listens at the address. Ray itself would try for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=LOOK_SECONDS).close()


def _start(ray: Any, shared: Any, settings: Settings, *, gpus: int, room: int) -> list[Any]:
    """Start actors that Ray restarts when they die. Ray does not retry their parts, since other actors take them."""
    total = ray.cluster_resources()
    for name, asked in (("GPU", gpus), ("CPU", settings.cpus)):
        if asked > total.get(name, 0):
            raise InputError(
                f"a worker wants {asked:g} {name}s and the cluster at {settings.address!r} has "
                f"{total.get(name, 0):g}; set execution.{name.lower()}s"
            )
    number = settings.workers or (int(total["GPU"]) // gpus if gpus else len(ray.nodes()))
    _Actor.ready = ray.method(max_task_retries=-1)(_Actor.ready)
    actor = ray.remote(_Actor).options(
        num_cpus=settings.cpus,
        num_gpus=gpus,
        max_restarts=-1,
        max_concurrency=room,
        scheduling_strategy="SPREAD",
    )
    return [actor.remote(shared) for _ in range(number)]


def _own_error(error: Any) -> HasseError:
    """A HasseError as it was raised; any other error as a WorkError."""
    return error.cause if isinstance(error.cause, HasseError) else WorkError(f"a chunk failed on the cluster:\n{error}")
