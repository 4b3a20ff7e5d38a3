"""Walk a plan: each step from the store, or computed. The Prefect flow calls the same functions, one task a step."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from data import registry
from data.errors import InputError
from flows.chain import plan
from flows.recipe import Recipe
from pipeline.run import Done, estimate, look_up, perform
from pipeline.stage import Progress, Step, producer
from pipeline.store import Artifact, Store, write_atomically

RUNS = "runs"


class Listener(Protocol):
    """Who is told how far a run is."""

    def started(self, step: Step) -> Progress: ...

    def finished(self, step: Step, done: Done) -> None: ...


@dataclass
class Run:
    """One walk through a plan, kept as store/runs/<run_id>.json."""

    run_id: str
    recipe: Recipe
    started: str
    done: list[Done] = field(default_factory=list)
    status: str = "running"
    how: dict[str, Any] = field(default_factory=dict)
    """What `hasse resume` needs beside the recipe: from_stage, only, and the Prefect flow run, where there is one."""

    @property
    def artifacts(self) -> dict[str, Artifact]:
        return {done.step: done.artifact for done in self.done}

    def save(self, store: Store) -> None:
        path = store.root / RUNS / f"{self.run_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(self.describe(), indent=1))

    def describe(self) -> dict[str, Any]:
        steps = [
            {"step": d.step, "ref": d.artifact.ref, "cached": d.cached, "seconds": round(d.seconds, 3)}
            for d in self.done
        ]
        return {
            "run_id": self.run_id,
            "recipe": self.recipe.model_dump(mode="json"),
            "started": self.started,
            "status": self.status,
            "how": self.how,
            "steps": steps,
        }


def begin(recipe: Recipe, store: Store, **how: Any) -> Run:
    """A new run, recorded at once, so that one that is killed can be resumed.

    Raises InputError when the store cannot be written.
    """
    store.check_writable()
    now = datetime.now(UTC)
    run_id = f"{recipe.name}-{now:%Y%m%d-%H%M%S}-{time.monotonic_ns() % 0xFFFF:04x}"
    run = Run(run_id=run_id, recipe=recipe, started=now.isoformat(timespec="seconds"), how=how)
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
    """Every step in order. What is done stays done: the same call again goes on where this one ended.

    from_stage: the stages before it must be in the store; it and all after it are computed anew.
    only: just that stage's steps; the stages before it must be in the store.
    since: what from_stage has had computed anew since then, UTC, is not computed anew again.
    """
    steps = plan(recipe)
    first, last = span(steps, from_stage, only)
    run = begin(recipe, store, from_stage=from_stage, only=only, since=since)
    try:
        for i, step in enumerate(steps[:last]):
            if i < first:
                done = stored(store, step, run.artifacts)
            else:
                progress = listener.started(step)
                refresh = from_stage is not None and not is_anew(store, step, run.artifacts, since)
                done = perform(store, step, run.artifacts, progress=progress, refresh=refresh)
            listener.finished(step, done)
            run.done.append(done)
            run.save(store)
        run.status = "done"
    except BaseException as error:
        run.status = f"{type(error).__name__}: {error}"
        raise
    finally:
        run.save(store)
    return run


def is_anew(store: Store, step: Step, artifacts: dict[str, Artifact], since: str | None) -> bool:
    """Whether the step's artifact was made since then."""
    found = look_up(store, step, artifacts) if since else None
    return found is not None and found.manifest.created >= str(since)


def span(steps: list[Step], from_stage: str | None, only: str | None) -> tuple[int, int]:
    """Positions of the first step that may be computed and of the end. Raises InputError for an unknown stage."""
    names = [step.stage.name for step in steps]
    for stage in filter(None, (from_stage, only)):
        if stage not in names:
            raise InputError(registry.unknown(stage, list(dict.fromkeys(names)), kind="stage"))
    if only is not None:
        return names.index(only), len(names) - names[::-1].index(only)
    return (names.index(from_stage) if from_stage else 0), len(names)


def stored(store: Store, step: Step, artifacts: dict[str, Artifact]) -> Done:
    """The step's artifact, which must be there. Raises InputError."""
    artifact = look_up(store, step, artifacts)
    if artifact is None:
        raise InputError(
            f"step {step.name} is not in the store {store.root}; run without --from-stage and --only first"
        )
    return Done(step=step.name, artifact=artifact, cached=True, seconds=0.0)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would do with a step: `cached`, `compute`, or `compute` after others that are not there yet."""

    step: Step
    action: str
    ref: str | None
    estimate: dict[str, Any] | None = None
    """Of a step that would be computed from inputs that are there, by its stage."""


def forecast(recipe: Recipe, store: Store) -> list[Forecast]:
    """The plan with what is cached. A step behind one that is to be computed is taken to be computed too; it may

    still be found in the store, if the step before it turns out as it was.
    """
    artifacts: dict[str, Artifact] = {}
    found = []
    estimates: dict[str, Any] = {}
    for step in plan(recipe):
        needed = [producer(name) for names in step.inputs.values() for name in names]
        known = all(name in artifacts for name in needed)
        artifact = look_up(store, step, artifacts) if known else None
        expected = None
        if artifact is not None:
            artifacts[step.name] = artifact
        elif known:
            alike = _without_seed(step, artifacts)
            if alike not in estimates:
                estimates[alike] = estimate(store, step, artifacts)
            expected = estimates[alike]
        action = "cached" if artifact else "compute"
        found.append(Forecast(step=step, action=action, ref=artifact and artifact.ref, estimate=expected))
    return found


def _without_seed(step: Step, artifacts: dict[str, Artifact]) -> str:
    """The same for steps that differ in nothing but the seed: they take the same."""
    key = step.key(artifacts)
    return json.dumps({**key, "config": {**key["config"], "seed": None}}, sort_keys=True)


def read_runs(store: Store) -> list[dict[str, Any]]:
    """Every recorded run, oldest first."""
    runs = [json.loads(path.read_text()) for path in (store.root / RUNS).glob("*.json")]
    return sorted(runs, key=lambda run: run["started"])


def report_path(run: Run) -> Path | None:
    artifact = run.artifacts.get("report")
    return artifact.path / "report.html" if artifact else None
