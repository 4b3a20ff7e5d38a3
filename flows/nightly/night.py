"""One night: what the source has gained is sampled and judged, models are trained, and a better one is promoted."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from hasse.data.errors import InputError, StoreError, WorkError
from hasse.data.records import Prompt
from hasse.flows.nightly.promotion import check_terms, judge_night, terms
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run.history import History, Night, history_path, read_history, write_history
from hasse.flows.run.prune import delete_unused, outdated
from hasse.flows.run.run import Run
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.files import make_folder, set_aside
from hasse.pipeline.remote.conditional import Conflict
from hasse.pipeline.remote.lease import Leased
from hasse.pipeline.store import Artifact, Store
from hasse.stages.models.checkpoints import model_folder


class AlreadyRunning(WorkError):
    """Another process runs the night of the same recipe."""


def night(recipe: Recipe, store: Store, run: Callable[[Recipe], Run], *, name: str | None = None) -> tuple[Night, Run]:
    """Run tonight's recipe by `run` and record the verdict; a failed night leaves the record as it was.

    name: of the night. One that is recorded already is not run again: its verdict is given, with a run without steps.
    Raises AlreadyRunning.
    """
    if recipe.nightly is None:
        raise InputError(f"recipe {recipe.name} has no section `nightly`; `nightly: {{}}` will do where it has one arm")
    store.check_writable()
    with alone(store, recipe.name):
        history = read_history(store, recipe.name)
        check_terms(history, recipe, path=history_path(store, recipe.name))
        known = next((n for n in history.nights if n.night == name), None)
        if known is not None:
            return known, Run(run_id=known.run, recipe=recipe, started=known.when, status="done")
        finished = run(tonight(recipe, history, store))
        found = _record(recipe, store, history, finished, name or finished.run_id)
        if recipe.nightly.keep_runs is not None:
            delete_unused(store, outdated(store, recipe.name, keep_runs=recipe.nightly.keep_runs))
    return found, finished


def tonight(recipe: Recipe, history: History, store: Store) -> Recipe:
    """The recipe with what the nights before have left: the splits of old prompts, and the latest model.

    Raises StoreError when these are damaged.
    """
    assert recipe.nightly is not None, "checked by the caller"
    if not history.nights:
        return recipe
    before = _intact(store, history.nights[-1].prompts, history).table_path(Prompt).absolute()
    found = recipe.model_copy(update={"prompts": recipe.prompts.model_copy(update={"before": str(before)})})
    if history.latest is None:
        return found
    folder = model_folder(_intact(store, history.latest.checkpoint, history)).absolute()
    return found.model_copy(update={"nightly": recipe.nightly.model_copy(update={"latest": str(folder)})})


@contextlib.contextmanager
def alone(store: Store, recipe: str) -> Iterator[None]:
    """Hold the lock of a recipe's nights; it goes with its process, however that ends. Raises AlreadyRunning."""
    path = store.root / ".locks" / f"nightly-{recipe}"
    with disk_errors(store.root):
        make_folder(path.parent)
        if path.is_dir():
            set_aside(path)
        file = path.open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunning(_running(recipe, file.read().strip() or "just started")) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} since {_now()}")
        file.flush()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(store.lease(f"nightly-{recipe}"))
            except Leased as error:
                raise AlreadyRunning(_running(recipe, str(error))) from error
            yield


def _running(recipe: str, who: str) -> str:
    return (
        f"a night of {recipe} is running already ({who}); this one does nothing, and the next finds what has come "
        "meanwhile"
    )


def hours_late(scheduled: datetime, now: datetime, limit: float | None) -> float | None:
    """How late a night is, if that is more than it may be."""
    hours = (now - scheduled).total_seconds() / 3600
    return hours if limit is not None and hours > limit else None


def _record(recipe: Recipe, store: Store, history: History, run: Run, name: str) -> Night:
    found = judge_night(recipe, run.artifacts, history, night=name, run=run.run_id, when=_now())
    try:
        write_history(store, replace(history, terms=terms(recipe), nights=(*history.nights, found)))
    except Conflict as error:
        raise AlreadyRunning(
            f"{error}: a night of {recipe.name} was recorded by another machine while this one ran, so this one is not "
            "compared with the model that is the latest now, and promotes nothing. Its work is kept: run it again"
        ) from error
    return found


def _intact(store: Store, ref: str, history: History) -> Artifact:
    stage, _, fingerprint = ref.partition("/")
    artifact = store.find(stage, fingerprint)
    if artifact is None:
        raise StoreError(
            f"{ref}, which the nights of {history.recipe} go on from, is missing or damaged (`hasse verify` tells "
            f"more); restore it, or remove {history_path(store, history.recipe)} to begin anew"
        )
    return artifact


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
