"""Walk through a plan: each step is taken from the store or computed. The Prefect flow calls the same functions."""

import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from hasse.data.errors import DamagedArtifact, InputError
from hasse.data.settings import registry
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.own_plugs import PLUGS, plugs_of
from hasse.flows.run.preflight import check_ready
from hasse.flows.run.records import DONE, RUNNING, RUNS, gate_of, lock_of, write_record
from hasse.flows.run.spending import check_prices, stop_unpaid
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.files import hold_lock, locked_shared, make_folder
from hasse.pipeline.run import Done, look_up, perform
from hasse.pipeline.stage import Progress, Step, fingerprint, producer
from hasse.pipeline.store import Artifact, Store

LOG = logging.getLogger("hasse")

DAMAGED_TRIES = 4
"""How many times a run goes through its steps if a step finds that an artifact is damaged."""


class Listener(Protocol):
    """Receives the progress of a run."""

    def started(self, step: Step) -> Progress: ...

    def finished(self, step: Step, done: Done) -> None: ...


@dataclass
class Run:
    """One walk through a plan, recorded as store/runs/<run_id>.json."""

    run_id: str
    recipe: Recipe
    started: str
    done: list[Done] = field(default_factory=list)
    status: str = RUNNING
    how: dict[str, Any] = field(default_factory=dict)
    """What `hasse resume` needs besides the recipe: from_stage, only, since, and the Prefect flow run, if any."""
    host: str = field(default_factory=platform.node)
    working: list[str] = field(default_factory=list)
    """What the current step reads and writes: names of its artifact, its work folder and its folder of rows."""
    alive: TextIO | None = None
    """A file that is locked as long as the run's process lives, so that other processes notice if it is killed."""

    @property
    def artifacts(self) -> dict[str, Artifact]:
        return {done.step: done.artifact for done in self.done}

    def save(self, store: Store) -> None:
        with disk_errors(store.root):
            make_folder(store.root / RUNS)
            write_record(store, self.describe())

    def work_at(self, step: Step, store: Store) -> None:
        """Record what the step may read and write, so that `prune` keeps it. Waits while `prune` deletes."""
        self.working = names_of(step, self.artifacts)
        with disk_errors(store.root), locked_shared(gate_of(store)):
            self.save(store)

    def describe(self) -> dict[str, Any]:
        steps = [
            {
                "step": d.step,
                "labels": dict(d.artifact.labels),
                "ref": d.artifact.ref,
                "cached": d.cached,
                "seconds": round(d.seconds, 3),
            }
            for d in self.done
        ]
        return {
            "run_id": self.run_id,
            "recipe": self.recipe.model_dump(mode="json"),
            PLUGS: plugs_of(self.recipe),
            "started": self.started,
            "status": self.status,
            "how": self.how,
            "host": self.host,
            "working": self.working,
            "steps": steps,
        }


def begin(recipe: Recipe, store: Store, **how: Any) -> Run:
    """Begin a run and record it at once, so that it can be resumed if it is killed.

    Raises InputError if the store cannot be written.
    """
    store.check_writable()
    now = datetime.now(UTC)
    run_id = f"{recipe.name}-{now:%Y%m%d-%H%M%S}-{time.monotonic_ns() % 0xFFFF:04x}"
    with disk_errors(store.root):
        alive = hold_lock(lock_of(store, run_id))
    run = Run(run_id=run_id, recipe=recipe, started=now.isoformat(timespec="seconds"), how=how, alive=alive)
    run.save(store)
    return run


def walk(
    recipe: Recipe,
    store: Store,
    listener: Listener,
    *,
    from_stage: str | None = None,
    only: str | None = None,
    since: str | None = None,
) -> Run:
    """Run every step of a recipe in order. The same call again continues where an earlier call ended.

    Args:
        from_stage: This stage and all later stages are computed anew. Earlier stages must be in the store.
        only: Only the steps of this stage run. Earlier stages must be in the store.
        since: With from_stage: what was computed since this time (UTC) is not computed anew again.
    """
    steps = plan(recipe)
    first, last = span(steps, from_stage, only)
    check_prices(steps[first:last])
    check_ready(steps[:last], store, first=first, anew=from_stage is not None)
    run = begin(recipe, store, from_stage=from_stage, only=only, since=since)

    def compute(step: Step, refresh: bool) -> Done:
        return perform(store, step, run.artifacts, progress=listener.started(step), refresh=refresh)

    return go_through(run, store, steps[:last], first, compute, listener.finished)


def go_through(
    run: Run,
    store: Store,
    steps: list[Step],
    first: int,
    compute: Callable[[Step, bool], Done],
    finished: Callable[[Step, Done], None] = lambda step, done: None,
) -> Run:
    """Go through the steps of a run by `compute(step, whether to compute it anew)`. Each finished step is recorded.

    The steps before number `first` must be in the store.
    """
    try:
        _through(run, store, steps, first, compute, finished)
        run.status, run.working = DONE, []
    except BaseException as error:
        run.status = f"{type(error).__name__}: {error}"
        raise
    finally:
        _end(run, store)
    return run


def _through(
    run: Run,
    store: Store,
    steps: list[Step],
    first: int,
    compute: Callable[[Step, bool], Done],
    finished: Callable[[Step, Done], None],
) -> None:
    """Go through the steps; if one reads a damaged or deleted artifact, begin again and make that artifact anew."""
    anew, since = run.how.get("from_stage") is not None, run.how.get("since")
    for tries_left in reversed(range(DAMAGED_TRIES)):
        try:
            for i, step in enumerate(steps):
                run.work_at(step, store)
                if i < first:
                    done = stored(store, step, run.artifacts)
                else:
                    done = compute(step, anew and not is_anew(store, step, run.artifacts, since))
                finished(step, done)
                run.done.append(done)
                run.save(store)
                stop_unpaid(done)
            return
        except DamagedArtifact as error:
            if not tries_left:
                raise
            LOG.warning("%s. The run goes through its steps again and computes the damaged artifact anew.", error)
            run.done, since = [], since or run.started


def _end(run: Run, store: Store) -> None:
    """Record how the run ended, and release its lock even if the record cannot be written."""
    try:
        run.save(store)
    finally:
        if run.alive:
            run.alive.close()
            lock_of(store, run.run_id).unlink(missing_ok=True)


def names_of(step: Step, artifacts: dict[str, Artifact]) -> list[str]:
    """Give the names in the store of what a step reads and writes: its artifact, work folder and folder of rows."""
    stage, key = step.stage.name, fingerprint(step.key(artifacts))
    return [f"{stage}/{key}", f"{stage}/.work-{key}", f"{stage}/rows/{step.row_code()[:24]}"]


def is_anew(store: Store, step: Step, artifacts: dict[str, Artifact], since: str | None) -> bool:
    """Whether the step's artifact was made at the time `since` or later."""
    found = look_up(store, step, artifacts) if since else None
    return found is not None and found.manifest.created >= str(since)


def span(steps: list[Step], from_stage: str | None, only: str | None) -> tuple[int, int]:
    """Numbers of the first step that may be computed and of the step after the last. Raises InputError."""
    names = [step.stage.name for step in steps]
    for stage in filter(None, (from_stage, only)):
        if stage not in names:
            raise InputError(registry.unknown(stage, list(dict.fromkeys(names)), kind="stage"))
    if only is not None:
        return names.index(only), len(names) - names[::-1].index(only)
    return (names.index(from_stage) if from_stage else 0), len(names)


def up_to(last: Step, steps: Mapping[str, Step]) -> list[Step]:
    """The step `last` and all steps that it depends on, in the order of the plan. `steps`: name -> step of the plan."""
    needed = {last.name}
    for step in reversed(list(steps.values())):
        if step.name in needed:
            needed |= {producer(name) for names in step.inputs.values() for name in names}
    return [step for step in steps.values() if step.name in needed]


def stored(store: Store, step: Step, artifacts: dict[str, Artifact]) -> Done:
    """The step's artifact from the store, which may have open rows. Raises InputError if it is not there."""
    artifact = store.find(step.stage.name, fingerprint(step.key(artifacts)))
    if artifact is None:
        raise InputError(f"step {step.name} is not in the store {store}; run without --from-stage and --only first")
    artifact = artifact.standing_for(step.name, step.labels)
    return Done(step=step.name, artifact=artifact, cached=True, seconds=0.0)


def report_path(run: Run) -> Path | None:
    """The page of the report, if the run has made one."""
    artifact = run.artifacts.get("report")
    return artifact.file("report.html") if artifact else None
