"""Limits how many runs use the GPUs and the chat endpoints at a time, by concurrency limits of the Prefect server.

A step holds a slot while it runs. The slot is a lease, so that a killed run frees its slot when the lease ends.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from hasse.flows.recipe.endpoints import endpoints
from hasse.pipeline.stage import Step

GPU, TEACHER = "hasse-gpu", "hasse-teacher"
LEASE_SECONDS = 60.0
"""The shortest lease that Prefect allows."""
TEACHER_RUNS = 1
"""The limits of an endpoint hold within one run, so two runs at a time would ask twice as fast."""


def slot_of(step: Step) -> str | None:
    """The limit that a step counts towards: a chat endpoint, or a GPU for a model in a child process."""
    if next(endpoints(step.settings), None):
        return TEACHER
    return GPU if step.stage.in_child else None


def slot(step: Step) -> AbstractContextManager[None]:
    """Wait for the step's slot, and hold it.

    A long training run goes on if the server is away for a while, even if the lease is lost.
    """
    name = slot_of(step)
    if name is None:
        return contextlib.nullcontext()
    return concurrency(name, lease_duration=LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False)


def ensure_limits() -> None:
    """Create the limits that the server does not have yet. Existing limits stay as they are."""
    with get_client(sync_client=True) as client:
        for name, slots in ((GPU, num_gpus()), (TEACHER, TEACHER_RUNS)):
            try:
                client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                _create_limit(name, slots)


def num_gpus() -> int:
    """The number of GPUs that this process may use. Without a GPU 1, since the CPU is shared as well."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return max(1, len([device for device in visible.split(",") if device.strip() not in ("", "-1")]))
    return max(1, sum(path.name.removeprefix("nvidia").isdigit() for path in _devices()))


def _devices() -> Iterator[Path]:
    return Path("/dev").glob("nvidia[0-9]*")


def _create_limit(name: str, slots: int) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    limit = GlobalConcurrencyLimitCreate(name=name, limit=slots, active=True, active_slots=0)
    with (
        get_client(sync_client=True) as client,
        contextlib.suppress(ObjectAlreadyExists),
    ):  # another run has created the limit
        client.create_global_concurrency_limit(limit)
