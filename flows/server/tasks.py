"""A step as a Prefect task. The store alone decides what is cached.

A Retry, a new run and a run without Prefect all compute only what is missing, and leave the same store.
"""

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from hasse.flows.server.artifact_pages import label, page
from hasse.flows.server.progress import ProgressArtifact
from hasse.flows.server.slots import slot
from hasse.pipeline.run import Done, look_up, perform
from hasse.pipeline.stage import Step, fingerprint
from hasse.pipeline.store import Artifact, Store


def as_task(step: Step, store: Store, artifacts: dict[str, Artifact], *, refresh: bool) -> Done:
    """Run the step as a task. The task is shown as Cached if the store has the artifact."""
    key = fingerprint(step.key(artifacts))
    there = None if refresh else look_up(store, step, artifacts)
    name = label(step.name, there.manifest) if there else step.name
    run = task(
        name=step.name,
        task_run_name=name.replace("{", "{{").replace("}", "}}"),
        cache_policy=CacheKeyFnPolicy(cache_key_fn=lambda context, parameters: f"{store}/{step.stage.name}/{key}"),
        persist_result=True,
        result_storage_key=f"hasse-{step.stage.name}-{key}.json",
        result_serializer="json",
        refresh_cache=there is None,
    )(_perform)
    found = run(_Quiet(step), _Quiet(store), _Quiet(artifacts), refresh)
    cached = there is not None or found["cached"]
    seconds = 0.0 if there else found["seconds"]
    artifact = there or store.open(Path(found["path"]), step.name, step.labels)
    done = Done(step=step.name, artifact=artifact, cached=cached, seconds=seconds)
    said = label(step.name, done.artifact.manifest)
    get_run_logger().info("%s · %s", said, "cached" if cached else f"{seconds:.1f} s")
    return done


class _Quiet:
    """Holds a value that Prefect passes to a task without searching it for states."""

    def __init__(self, value: Any):
        self.value = value


def _perform(step: _Quiet, store: _Quiet, artifacts: _Quiet, refresh: bool) -> dict[str, Any]:
    name = step.value.name
    progress = ProgressArtifact(name, key=f"{artifact_key(name)}-progress")
    with slot(step.value):
        done = perform(store.value, step.value, artifacts.value, progress=progress, refresh=refresh)
    progress.finish()
    _rename(label(name, done.artifact.manifest))
    create_markdown_artifact(
        page(done, step.value, artifacts.value),
        key=artifact_key(name),
        description=label(name, done.artifact.manifest),
        _sync=True,  # type: ignore[call-arg]  which of both ways, as its decorator takes it
    )
    return {"path": str(done.artifact.path), "cached": done.cached, "seconds": done.seconds}


def _rename(name: str) -> None:
    """Rename the task run. The next state of the task sends the name to the server."""
    context = TaskRunContext.get()
    if context:
        context.task_run.name = name


def artifact_key(name: str) -> str:
    """The key of a Prefect artifact: lower case with dashes."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
