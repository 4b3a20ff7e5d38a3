"""What a run would do with each step, and what that would take."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasse.data.settings import registry
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.endpoints import endpoints
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.recipe.sections import SOURCES
from hasse.flows.run.endpoint_keys import check_keys
from hasse.flows.run.preflight import check_disk, check_ready
from hasse.pipeline.run import estimate, imagine, look_up
from hasse.pipeline.stage import Step, producer
from hasse.pipeline.store import Artifact, Store

ROWS = ("prompts", "candidates", "judgements")
"""Inputs from which questions are made."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would do with a step: `cached`, `compute`, or `compute` after others that are not there yet."""

    step: Step
    action: str
    ref: str | None
    estimate: dict[str, Any] | None = None
    """Of a step that would be computed, by its stage; `rough` where stand-ins took the place of missing candidates."""


def forecast(recipe: Recipe, store: Store) -> list[Forecast]:
    """The plan with what is cached. A step behind one that is to be computed is taken to be computed too; it may

    still be found in the store, if the step before it turns out as it was.
    """
    steps = plan(recipe)
    with tempfile.TemporaryDirectory() as folder:
        forecaster = _Forecaster(store, Path(folder))
        found = [forecaster.of(step) for step in steps]
    open_steps = [one.step for one in found if one.action != "cached"]
    _check_first_row(recipe, open_steps)
    check_keys(steps, store, anew_from=len(steps))
    check_ready(steps, store)
    check_disk(open_steps, store)
    return found


def _check_first_row(recipe: Recipe, open_steps: list[Step]) -> None:
    """Columns that the source does not have are known from its first row. Raises SourceError."""
    if any(step.name == "prompts" for step in open_steps):
        source = registry.load(SOURCES, recipe.source.kind, kind="source")
        next(iter(source.rows(recipe.source)), None)


class _Forecaster:
    """Goes from step to step; `folder` is for stand-ins."""

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
        """Steps that differ in nothing but the seed take the same."""
        key = step.key(self._artifacts)
        alike = json.dumps({**key, "config": {**key["config"], "seed": None}}, sort_keys=True)
        if alike not in self._estimates:
            self._estimates[alike] = estimate(self._store, step, self._artifacts)
        return self._estimates[alike]

    def _rough_estimate(self, step: Step) -> dict[str, Any] | None:
        """Of a step that asks an endpoint: rows decide, so its models need not be there."""
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
