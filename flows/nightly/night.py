"""One night: sample and judge the new rows of the source, train the models, and promote a better one."""

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
    """Another process is running a night of the same recipe."""


def night(recipe: Recipe, store: Store, run: Callable[[Recipe], Run], *, name: str | None = None) -> tuple[Night, Run]:
    """Run tonight's recipe by `run`, and record the verdict. A night that fails leaves the record unchanged.

    A night whose `name` is recorded already does not run again: its verdict is returned, with a run without steps.
    Raises AlreadyRunning, and InputError for a recipe without nights.
    """
    if recipe.nightly is None:
        raise InputError(f"recipe {recipe.name} has no section `nightly`; `nightly: {{}}` will do where it has one arm")
    store.check_writable()
    with alone(store, recipe.name):
        history = read_history(store, recipe.name)
        check_terms(history, recipe, path=history_path(store, recipe.name))
        recorded = next((n for n in history.nights if n.night == name), None)
        if recorded is not None:
            return recorded, Run(run_id=recorded.run, recipe=recipe, started=recorded.when, status="done")
        finished = run(tonight(recipe, history, store))
        verdict = _record(recipe, store, history, finished, name or finished.run_id)
        if recipe.nightly.keep_runs is not None:
            delete_unused(store, outdated(store, recipe.name, keep_runs=recipe.nightly.keep_runs))
    return verdict, finished


def tonight(recipe: Recipe, history: History, store: Store) -> Recipe:
    """The recipe that also names what earlier nights have left: the prompts with their splits, and the latest model.

    Raises StoreError if these artifacts are missing or damaged.
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
    """Hold the lock of a recipe's nights. The lock ends with its process, even if that is killed.

    Raises AlreadyRunning if another process holds the lock.
    """
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
        f"a night of {recipe} is running already ({who}); this night does nothing, and the next one takes the rows "
        f"that have come in the meantime"
    )


def hours_late(scheduled: datetime, now: datetime, limit: float | None) -> float | None:
    """Give the number of hours by which a night starts late, or None if that is within the limit."""
    hours = (now - scheduled).total_seconds() / 3600
    return hours if limit is not None and hours > limit else None


def _record(recipe: Recipe, store: Store, history: History, run: Run, name: str) -> Night:
    verdict = judge_night(recipe, run.artifacts, history, night=name, run=run.run_id, when=_now())
    try:
        write_history(store, replace(history, terms=terms(recipe), nights=(*history.nights, verdict)))
    except Conflict as error:
        raise AlreadyRunning(
            f"{error}: another machine recorded a night of {recipe.name} while this night ran, so this night's model "
            f"was not compared with the model that is now the latest, and nothing is promoted. The work is kept; run "
            f"the night again"
        ) from error
    return verdict


def _intact(store: Store, ref: str, history: History) -> Artifact:
    stage, _, fingerprint = ref.partition("/")
    artifact = store.find(stage, fingerprint)
    if artifact is None:
        raise StoreError(
            f"{ref}, from which the nights of {history.recipe} continue, is missing or damaged (see `hasse verify`); "
            f"restore it, or remove {history_path(store, history.recipe)} to begin anew"
        )
    return artifact


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
