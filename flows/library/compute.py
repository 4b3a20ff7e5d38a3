"""Compute a recipe in this process, as `hasse run` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hasse.flows.library.recorded import RecordedRun
from hasse.flows.library.store_reader import StoreReader
from hasse.flows.recipe.recipe import Recipe, load_recipe
from hasse.flows.run.run import walk
from hasse.pipeline.remote.store import open_store
from hasse.pipeline.run import Done
from hasse.pipeline.stage import Progress, Step
from hasse.stages.train.distributed.machines import MachineGroup

OnProgress = Callable[[str, int, int], None]
"""Called with a step's name, and how many of its parts are done, of how many."""


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    store: str | Path | StoreReader = "store",
    set: Sequence[str] | Mapping[str, Any] = (),
    from_stage: str | None = None,
    only: str | None = None,
    progress: OnProgress | None = None,
) -> RecordedRun:
    """Compute every step of a recipe that the store does not hold yet, and return the finished run.

    recipe: the name of a shipped recipe (see `hasse recipes`), the path of a YAML file, its content, or a Recipe.
    store: a folder, which is made, or s3://bucket/prefix.
    set: changed settings, as {"train.steps": 100} or ["train.steps=100"].
    from_stage: compute this stage and all after it anew; the stages before it must be in the store.
    only: compute this stage alone; the stages before it must be in the store.
    progress: is called while a step works, and once when the step is finished.
    Raises InputError when the recipe or its inputs are wrong, and WorkError when a step fails. Finished steps are kept:
    the same call goes on where an earlier one ended.
    """
    settings = load_recipe(recipe, set)
    opened = store.store if isinstance(store, StoreReader) else open_store(store)
    MachineGroup.of(opened, settings.launch).check_hasse_launch()
    finished = walk(settings, opened, _Listener(progress), from_stage=from_stage, only=only)
    return StoreReader(opened).run(finished.run_id)


class _Listener:
    """Tells a function how far each step is."""

    def __init__(self, progress: OnProgress | None):
        self.progress = progress or (lambda step, done, total: None)

    def started(self, step: Step) -> Progress:
        return lambda done, total: self.progress(step.name, done, total)

    def finished(self, step: Step, done: Done) -> None:
        self.progress(step.name, 1, 1)
