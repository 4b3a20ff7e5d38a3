"""Executor `ray`: the chunks of map stages on a Ray cluster, by actors that keep what they have loaded.

A worker that dies, alone or with its node, is started again where there is room, and its chunks go to the others; the
rows are written by the process that asked, so what was finished is kept whatever happens to the cluster. Each node
needs this package, the plugs from outside, and the store, all at the same places.
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
    executor: Literal["ray"] = "ray"
    address: str = Field(
        default="auto", description="Of the cluster: host:port, ray://host:port, or auto for the one of this machine."
    )
    workers: int | None = Field(
        default=None, ge=1, description="Actors of a stage; left out: one a GPU, or for stages without one a node."
    )
    cpus: float = Field(default=1, ge=0, description="CPUs of one actor.")
    gpus: int = Field(default=1, ge=0, description="GPUs of one actor of a stage with a model; 0 on a cluster of CPUs.")
    tries: int = Field(default=3, ge=1, description="Times that a chunk is begun whose workers die of it.")
    patience: float = Field(default=600, gt=0, description="Seconds without any worker, before the stage gives up.")


class _Actor:
    """What `compute` loads stays loaded from one part to the next."""

    def __init__(self, work: Computation):
        self.work = work

    def rows(self, part: Part) -> Rows:
        return self.work.rows(part)

    def ready(self) -> None:
        """Answered as soon as the actor runs."""


@dataclass(eq=False)
class _Worker:
    """An actor as seen from here; `here` from its start to its death, and from its return on."""

    actor: Any
    load: int = 0
    here: bool = False


@dataclass
class _Team:
    """The workers, and what each has in hand: reference of a result -> the part, which try of it, and whose it is.

    Without a part it stands for a worker that is awaited.
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
        """For a part, once those that were lost are in hand again."""
        while self.lost and self._free():
            self.give(*self.lost.pop())
        return not self.lost and bool(self._free())

    def has_work(self) -> bool:
        return bool(self.lost) or any(part is not None for part, _, _ in self.in_hand.values())

    def give(self, part: Part, tried: int = 0) -> None:
        """To the worker with the least to do, which must be there."""
        worker = min(self._free(), key=lambda w: w.load)
        worker.load += 1
        self.in_hand[worker.actor.rows.remote(part)] = part, tried + 1, worker

    def next(self) -> Iterator[tuple[Part, Rows]]:
        """What comes next: a part that is done, or nothing where a worker went or came back."""
        done, _ = self.ray.wait(list(self.in_hand), num_returns=1, timeout=self._timeout())
        if not done:
            raise WorkError(
                f"the cluster has had no worker for {self.settings.patience:g} s; run the same command again"
            )
        part, tried, worker = self.in_hand.pop(done[0])
        if part is None:
            worker.here = True
            return
        worker.load -= 1
        try:
            rows = self.ray.get(done[0])
        except self.ray.exceptions.RayTaskError as error:
            raise _ours(error) from None
        except self.ray.exceptions.RayError as error:
            if worker.here:
                self._await(worker)
            if tried >= self.settings.tries:
                raise WorkError(f"a chunk took {tried} workers with it; the last: {error}") from error
            self.lost.append((part, tried))
            return
        yield part, rows

    def _free(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.here and worker.load < self.room]

    def _timeout(self) -> float | None:
        return None if any(worker.here for worker in self.workers) else self.settings.patience

    def _await(self, worker: _Worker) -> None:
        worker.here = False
        self.in_hand[worker.actor.ready.remote()] = None, 0, worker

    def end(self) -> None:
        for worker in self.workers:
            self.ray.kill(worker.actor)


def computed(parts: Iterable[Part], work: Computation, settings: Settings) -> Iterator[tuple[Part, Rows]]:
    """Each part with its rows, as they are done. Raises InputError when the cluster cannot hold one worker."""
    # What the library has to say of its nodes it prints; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr), _connected(settings) as ray:
        shared = ray.put(work)  # held to the end: an actor that is started again reads it again
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
    """The library, connected to the cluster for this time. Raises InputError."""
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
    """Raises OSError where nobody listens; the library itself would try for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=LOOK_SECONDS).close()


def _start(ray: Any, shared: Any, settings: Settings, *, gpus: int, room: int) -> list[Any]:
    """Actors that are started again when they die; a part in their hands is not, since another may take it."""
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


def _ours(error: Any) -> HasseError:
    """An error of ours as it was raised; any other as WorkError."""
    return error.cause if isinstance(error.cause, HasseError) else WorkError(f"a chunk failed on the cluster:\n{error}")
