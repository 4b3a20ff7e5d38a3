"""Find a step's artifact in the store, or compute it."""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hasse.pipeline.child_process import run_in_child
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.files import forget_begun, make_folder
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.manifest import Labels, Manifest, git_commit, package_versions
from hasse.pipeline.remote.store import open_store
from hasse.pipeline.stage import Job, Progress, Step, fingerprint, producer
from hasse.pipeline.store import LOGS, Artifact, Imagined, Store, content_digest, describe_files


@dataclass(frozen=True, kw_only=True)
class Done:
    """A step with its artifact. `cached` means that nothing had to be computed."""

    step: str
    artifact: Artifact
    cached: bool
    seconds: float


def look_up(store: Store, step: Step, artifacts: Mapping[str, Artifact]) -> Artifact | None:
    """The step's artifact if the store has it without open rows; None otherwise. artifacts: those of earlier steps."""
    return _whole(store, step, fingerprint(step.key(artifacts)))


def _whole(store: Store, step: Step, fingerprint: str) -> Artifact | None:
    artifact = store.find(step.stage.name, fingerprint)
    if artifact is None or artifact.manifest.open_units:
        return None
    return artifact.standing_for(step.name, step.labels)


Given = tuple[Path, str, Labels]
"""An input as it is passed to another process: the artifact's path, its step and the step's labels."""


def _given(artifacts: Mapping[str, Artifact], step: str) -> Given:
    artifact = artifacts[producer(step)]
    return artifact.path, producer(step), artifact.labels


def perform(
    store: Store, step: Step, artifacts: Mapping[str, Artifact], *, progress: Progress, refresh: bool = False
) -> Done:
    """The step's artifact, from the store or computed now. refresh: compute it even if the store has it.

    A second process that wants the same artifact waits, then finds it in the store.
    """
    started = time.monotonic()
    key = step.key(artifacts)
    with store.lock(step.stage.name, fingerprint(key)):
        if refresh:
            discard_work(store, step, key)
        artifact = None if refresh else _whole(store, step, fingerprint(key))
        cached = artifact is not None
        if artifact is None:
            inputs = {name: [_given(artifacts, s) for s in steps] for name, steps in step.inputs.items()}
            arguments = (store.location, step, key, step.row_code(), inputs, refresh)
            if step.stage.in_child:
                path = run_in_child(compute, *arguments, on_event=lambda event: progress(*event))
            else:
                path = compute(*arguments, lambda event: progress(*event))
            artifact = store.open(path)
    artifact = artifact.standing_for(step.name, step.labels)
    return Done(step=step.name, artifact=artifact, cached=cached, seconds=time.monotonic() - started)


def compute(
    location: str,
    step: Step,
    key: dict[str, Any],
    row_code: str,
    inputs: dict[str, list[Given]],
    refresh: bool,
    send: Callable[[tuple[int, int]], None],
) -> Path:
    """Run the stage function and publish its result; returns the artifact's path.

    location: the store's path or URI. The work folder of an earlier, interrupted try is kept, and so are the logs of a
    try that ended with open rows.
    """
    store, started = open_store(location), time.monotonic()
    work = store.work_folder(step.stage.name, fingerprint(key))
    with disk_errors(store.root):
        make_folder(work)
        forget_begun(work)
        unfinished = None if refresh else store.find(step.stage.name, fingerprint(key))
        if unfinished is not None:
            _carry_over(unfinished.file(LOGS), work / LOGS)
        job = Job(
            name=step.name,
            settings=step.settings,
            inputs={name: [store.open(*given) for given in found] for name, found in inputs.items()},
            path=work,
            store=store,
            progress=lambda done, total: send((done, total)),
            code=row_code,
            refresh=refresh,
            executor=step.executor,
        )
        step.stage.run(job)
        if step.check is not None:
            step.check(job)
        return store.publish(work, _manifest(job, step, key, time.monotonic() - started)).path


def _carry_over(logs: Path, target: Path) -> None:
    """Copy the logs to a folder beside the target, then rename, so that a kill leaves all of them or none."""
    if not logs.is_dir() or target.exists():
        return
    beside = target.with_name(f".{LOGS}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(logs, beside)
    beside.rename(target)


def estimate(store: Store, step: Step, artifacts: Mapping[str, Artifact]) -> dict[str, Any] | None:
    """The stage's estimate of computing the step; None if the stage has no estimate. Nothing is published."""
    if step.stage.estimate is None:
        return None
    arguments = (store.location, step, step.row_code(), _paths(step, artifacts))
    if step.stage.estimate_in_child:
        return run_in_child(_estimate, *arguments, on_event=lambda event: None)
    return _estimate(*arguments, lambda event: None)


def imagine(store: Store, step: Step, artifacts: Mapping[str, Artifact], folder: Path) -> Artifact | None:
    """An imagined artifact of the step, in a folder of the caller; None if the stage cannot imagine one."""
    if step.stage.imagine is None:
        return None
    job = _temporary_job(store.location, step, step.row_code(), _paths(step, artifacts), folder)
    step.stage.imagine(job)
    return Imagined(job.path, step.name, step.labels)


def _paths(step: Step, artifacts: Mapping[str, Artifact]) -> dict[str, list[Given]]:
    """The inputs whose artifacts all exist."""
    return {
        name: [_given(artifacts, s) for s in steps]
        for name, steps in step.inputs.items()
        if all(producer(s) in artifacts for s in steps)
    }


def _estimate(
    location: str, step: Step, row_code: str, inputs: dict[str, list[Given]], send: Callable[[Any], None]
) -> Any:
    assert step.stage.estimate is not None
    with tempfile.TemporaryDirectory() as folder:
        return step.stage.estimate(_temporary_job(location, step, row_code, inputs, Path(folder)))


def _temporary_job(location: str, step: Step, row_code: str, inputs: dict[str, list[Given]], folder: Path) -> Job:
    """A job whose folder lies outside the store."""
    store = open_store(location)
    path = folder / step.stage.name / digest(step.name)
    path.mkdir(parents=True)
    return Job(
        name=step.name,
        settings=step.settings,
        inputs={name: [_input(store, given) for given in found] for name, found in inputs.items()},
        path=path,
        store=store,
        progress=lambda done, total: None,
        code=row_code,
    )


def _input(store: Store, given: Given) -> Artifact:
    """An artifact of the store, or an imagined artifact outside the store."""
    return store.open(*given) if given[0].is_relative_to(store.root) else Imagined(*given)


def discard_work(store: Store, step: Step, key: dict[str, Any]) -> None:
    """Delete the work folder of an interrupted try of a step."""
    shutil.rmtree(store.work_folder(step.stage.name, fingerprint(key)), ignore_errors=True)


def _manifest(job: Job, step: Step, key: dict[str, Any], seconds: float) -> Manifest:
    files = describe_files(job.path)
    identity = step.stage.identity(job.path) if step.stage.identity else {"content": content_digest(files)}
    return Manifest(
        stage=step.stage.name,
        fingerprint=fingerprint(key),
        name=step.name,
        labels=dict(step.labels),
        key=key,
        identity=identity,
        files=files,
        counts=job.counts,
        metrics=job.metrics,
        inputs={name: [artifact.ref for artifact in artifacts] for name, artifacts in job.inputs.items()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        cost_usd=job.metrics.get("cost", {}).get("dollars", 0.0),
        row_code=job.code,
        git_commit=git_commit(),
        packages=package_versions(),
    )
