"""One Prefect flow that chains the stages: a task a step, and every task begins with a look-up in the store.

The store alone decides what is cached; Prefect shows it. So Retry, a fresh run and a run without Prefect all touch
only what is missing, and leave the same store.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from flows.chain import plan
from flows.money import check_prices, stop_unpaid
from flows.recipe import Recipe
from flows.walk import Run, begin, span, stored
from pipeline.remote import absolute, open_store
from pipeline.run import Done, look_up, perform
from pipeline.stage import Step, fingerprint
from pipeline.store import Artifact, Store

SAMPLE_ROWS = 5


@flow(name="hasse", flow_run_name="{run_name}", persist_result=False)
def hasse_flow(
    recipe: Recipe,
    store: str = "store",
    from_stage: str | None = None,
    only: str | None = None,
    run_name: str = "hasse",
) -> str:
    """Take prompts and a student to a better student; gives the id of the recorded run.

    The arguments are those of `hasse run`.
    """
    place = open_store(absolute(store))
    run = begin(recipe, place)
    steps = plan(recipe)
    first, last = span(steps, from_stage, only)
    check_prices(steps[first:last])
    try:
        for i, step in enumerate(steps[:last]):
            if i < first:
                run.done.append(stored(place, step, run.artifacts))
            else:
                run.done.append(_as_task(step, place, run.artifacts, refresh=from_stage is not None))
            stop_unpaid(run.done[-1])
        run.status = "done"
    except BaseException as error:
        run.status = f"{type(error).__name__}: {error}"
        raise
    finally:
        run.save(place)
    return run.run_id


def run_as_flow(recipe: Recipe, store: Store, *, from_stage: str | None, only: str | None) -> Run:
    """Run the flow against the server of PREFECT_API_URL, or Prefect's own ephemeral one; gives the run."""
    name = f"{recipe.name} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    run_id = hasse_flow(recipe, store=store.location, from_stage=from_stage, only=only, run_name=name)
    return _read_run(store, run_id, recipe)


def _as_task(step: Step, store: Store, artifacts: dict[str, Artifact], *, refresh: bool) -> Done:
    """The step as a Prefect task, whose result is a reference; shown as Cached when the store has the artifact."""
    key = fingerprint(step.key(artifacts))
    there = None if refresh else look_up(store, step, artifacts)
    as_task = task(
        name=step.name,
        task_run_name=step.name.replace("{", "{{").replace("}", "}}"),
        cache_policy=CacheKeyFnPolicy(cache_key_fn=lambda context, parameters: f"{store}/{step.stage.name}/{key}"),
        persist_result=True,
        result_storage_key=f"hasse-{step.stage.name}-{key}.json",
        result_serializer="json",
        refresh_cache=there is None,
    )(_perform)
    found = as_task(_Quiet(step), _Quiet(store), _Quiet(artifacts), refresh)
    return Done(
        step=step.name,
        artifact=there or store.open(Path(found["path"])),
        cached=there is not None or found["cached"],
        seconds=0.0 if there else found["seconds"],
    )


class _Quiet:
    """Carries a value into a task without Prefect looking into it for states to resolve."""

    def __init__(self, value: Any):
        self.value = value


def _perform(step: _Quiet, store: _Quiet, artifacts: _Quiet, refresh: bool) -> dict[str, Any]:
    logger = get_run_logger()
    done = perform(store.value, step.value, artifacts.value, progress=lambda done, total: None, refresh=refresh)
    logger.info("%s: %s, %.1f s", step.value.name, "found in the store" if done.cached else "computed", done.seconds)
    create_markdown_artifact(
        _describe(done), key=_artifact_key(step.value.name), description=f"{step.value.name} of {_flow_name()}"
    )
    return {"path": str(done.artifact.path), "cached": done.cached, "seconds": done.seconds}


def _describe(done: Done) -> str:
    """Counts by status, a few rows, and where the files are."""
    from flows.views import rows

    manifest = done.artifact.manifest
    lines = [f"# {done.step}", "", f"`{done.artifact.location}`", "", "| table | status | rows |", "|--|--|--:|"]
    lines += [
        f"| {table} | {status} | {count} |"
        for table, by_status in manifest.counts.items()
        for status, count in by_status.items()
    ]
    for table in manifest.counts:
        lines += [
            "",
            f"## {table}",
            "",
            *_table(rows(done.artifact, table=table, prompt_id=None, status=None, limit=SAMPLE_ROWS)),
        ]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["no rows"]
    columns = [name for name in rows[0] if any(row[name] not in (None, [], "") for row in rows)]
    head = ["| " + " | ".join(columns) + " |", "|" + "--|" * len(columns)]
    return head + ["| " + " | ".join(_cell(row[name]) for name in columns) + " |" for row in rows]


def _cell(value: Any) -> str:
    """Text that is safe inside a Markdown table: no markup, no line break, not endless."""
    text = "" if value is None else str(value)
    text = text if len(text) <= 120 else text[:119] + "…"
    for character, replacement in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "&#124;"),
        ("`", "&#96;"),
        ("[", "&#91;"),
        ("\n", " ⏎ "),
    ):
        text = text.replace(character, replacement)
    return text


def _artifact_key(name: str) -> str:
    """Prefect's keys are lower case with dashes."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def _flow_name() -> str:
    context = TaskRunContext.get()
    return str(context.task_run.flow_run_id) if context else "no run"


def _read_run(store: Store, run_id: str, recipe: Recipe) -> Run:
    import json

    described = json.loads((store.root / "runs" / f"{run_id}.json").read_text())
    done = [
        Done(
            step=step["step"],
            artifact=store.artifact(step["ref"]),
            cached=step["cached"],
            seconds=step["seconds"],
        )
        for step in described["steps"]
    ]
    return Run(run_id=run_id, recipe=recipe, started=described["started"], done=done, status=described["status"])
