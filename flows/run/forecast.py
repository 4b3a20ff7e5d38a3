"""Forecasts a run: whether each step is cached, and how much work and money the others would take."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasse.flows.plan.steps import plan
from hasse.flows.recipe.endpoints import endpoints
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.preflight import check_disk, check_ready
from hasse.pipeline.run import estimate, imagine, look_up
from hasse.pipeline.stage import Step, producer
from hasse.pipeline.store import Artifact, Store

ROWS = ("prompts", "candidates", "judgements")
"""The inputs that decide how many questions a step asks."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The forecast of a step: it is `cached`, or the run would `compute` it."""

    step: Step
    action: str
    ref: str | None
    estimate: dict[str, Any] | None = None
    """The estimate of a step that would be computed. `rough`: stand-ins took the place of missing candidates."""


def forecast(recipe: Recipe, store: Store) -> list[Forecast]:
    """Tell for each step of the plan whether it is cached, and estimate what the other steps take.

    A step after a step that is to be computed counts as `compute`. The run may still find it in the store, if the
    earlier step gives the same result as before. Raises InputError and SourceError for what would stop the run.
    """
    steps = plan(recipe)
    with tempfile.TemporaryDirectory() as folder:
        forecaster = _Forecaster(store, Path(folder))
        forecasts = [forecaster.of(step) for step in steps]
    check_ready(steps, store)
    check_disk([each.step for each in forecasts if each.action != "cached"], store)
    return forecasts


class _Forecaster:
    """Forecasts one step after the other. Stand-ins for missing candidates are written to `folder`."""

    def __init__(self, store: Store, folder: Path):
        self._store, self._folder = store, folder
        self._artifacts: dict[str, Artifact] = {}
        self._estimates: dict[str, Any] = {}
        self._missing: dict[str, Step] = {}
        self._imagined: dict[str, Artifact | None] = {}

    def of(self, step: Step) -> Forecast:
        needed = {producer(name) for names in step.inputs.values() for name in names}
        known = needed <= set(self._artifacts)
        artifact = look_up(self._store, step, self._artifacts) if known else None
        if artifact is not None:
            self._artifacts[step.name] = artifact
            return Forecast(step=step, action="cached", ref=artifact.ref)
        found = self._estimate(step) if known else self._rough_estimate(step)
        self._missing[step.name] = step
        return Forecast(step=step, action="compute", ref=None, estimate=found)

    def _estimate(self, step: Step) -> dict[str, Any] | None:
        """The estimate of a step whose inputs are in the store. Steps that differ only in the seed share it."""
        key = step.key(self._artifacts)
        alike = json.dumps({**key, "config": {**key["config"], "seed": None}}, sort_keys=True)
        if alike not in self._estimates:
            self._estimates[alike] = estimate(self._store, step, self._artifacts)
        return self._estimates[alike]

    def _rough_estimate(self, step: Step) -> dict[str, Any] | None:
        """The estimate of a step that asks an endpoint, from its rows alone: its models may be missing."""
        if not any(endpoints(step.settings)):
            return None
        inputs = {producer(s) for name, steps in step.inputs.items() if name in ROWS for s in steps}
        there = {name: found for name in inputs if (found := self._there_or_imagined(name))}
        found = estimate(self._store, step, there) if there.keys() == inputs else None
        return found and {**found, "rough": True}

    def _there_or_imagined(self, name: str) -> Artifact | None:
        if name in self._artifacts:
            return self._artifacts[name]
        if name not in self._imagined:
            step = self._missing[name]
            there = {s: self._artifacts[s] for steps in step.inputs.values() for s in steps if s in self._artifacts}
            found = imagine(self._store, step, there, self._folder) if "prompts" in there else None
            self._imagined[name] = found
        return self._imagined[name]
