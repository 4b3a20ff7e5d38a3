"""The output of a run on the terminal: progress, forecast and results."""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from hasse.flows.cli.tables import console, show_rows
from hasse.flows.plan.memory import StepMemory
from hasse.flows.run.forecast import Forecast
from hasse.flows.run.run import Run, report_path
from hasse.flows.run.spending import expected, spent
from hasse.pipeline.run import Done
from hasse.pipeline.stage import Progress as OnProgress
from hasse.pipeline.stage import Step
from hasse.stages.report.shortfalls import shortfalls


@contextlib.contextmanager
def listener(*, quiet: bool) -> Iterator[Any]:
    """Progress bars on a terminal, one line a step elsewhere, nothing when quiet."""
    if quiet:
        yield _Silent()
    elif console.is_terminal:
        columns = [
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        ]
        with Progress(*columns, console=console) as progress:
            yield _Bars(progress)
    else:
        yield _Lines()


class _Silent:
    def started(self, step: Step) -> OnProgress:
        return lambda done, total: None

    def finished(self, step: Step, done: Done) -> None:
        pass


class _Lines(_Silent):
    def finished(self, step: Step, done: Done) -> None:
        print(f"{step.name:28} {note(done)}", flush=True)


class _Bars(_Silent):
    def __init__(self, progress: Progress):
        self.progress = progress
        self.tasks: dict[str, Any] = {}

    def started(self, step: Step) -> OnProgress:
        task = self.progress.add_task(f"{step.name:28}", total=None, note="")
        self.tasks[step.name] = task
        return lambda done, total: self.progress.update(task, completed=done, total=total)

    def finished(self, step: Step, done: Done) -> None:
        task = self.tasks.get(step.name)
        if task is None:
            task = self.progress.add_task(f"{step.name:28}", total=1, note="")
        self.progress.update(task, total=1, completed=1, note=note(done))
        self.progress.stop_task(task)


def note(done: Done) -> str:
    """cached, or the seconds it took; and the rows by status."""
    how = "cached" if done.cached else f"{done.seconds:.1f} s"
    manifest = done.artifact.manifest
    counts = [
        f"{table}: {', '.join(f'{n} {status}' for status, n in by_status.items())}"
        for table, by_status in manifest.counts.items()
        if table not in ("curve_point", "checkpoint")
    ]
    found = manifest.metrics.get("units_found")
    if found and not done.cached:
        counts.append(f"{found} of {manifest.metrics['units']} found in the store")
    cost = manifest.metrics.get("cost", {})
    if "requests" in cost and not done.cached:
        counts.append(f"{cost['requests']:,} requests, {spent(cost)}")
    return "  ".join([how, *counts])


def show_memory(needs: Sequence[StepMemory]) -> None:
    """The peak memory of each step that loads a model with a config."""
    if not needs:
        return
    rows = [need.row() for need in needs]
    show_rows([{**row, "parts": ", ".join(f"{k} {v:g}" for k, v in row["parts"].items())} for row in rows])
    most = max(needs, key=lambda need: need.total)
    console.print(f"Most memory, by the models' configs: {most.total / 2**30:.1f} GiB on one GPU, in {most.step}.")


def show_forecast(steps: Sequence[Forecast], memory: Sequence[StepMemory], *, as_json: bool) -> None:
    rows = [{"step": f.step.name, "stage": f.step.stage.name, "action": f.action, "ref": f.ref or ""} for f in steps]
    if as_json:
        needs = [_need_of(f.step.name, memory) for f in steps]
        estimates = [{"estimate": f.estimate, "memory": need} for f, need in zip(steps, needs, strict=True)]
        print(json.dumps([{**row, **found} for row, found in zip(rows, estimates, strict=True)], indent=1))
        return
    if any(f.estimate for f in steps):
        rows = [{**row, "takes": takes(f)} for row, f in zip(rows, steps, strict=True)]
    show_rows(rows)
    cached = sum(f.action == "cached" for f in steps)
    console.print(f"{cached} of {len(steps)} steps are cached, {len(steps) - cached} would be computed.")
    unknown = sum(f.estimate is None and f.step.stage.estimate is not None and f.action == "compute" for f in steps)
    if unknown:
        console.print(f"What {unknown} of them cost can be estimated once the steps before them have run.")


def _need_of(step: str, memory: Sequence[StepMemory]) -> dict[str, Any] | None:
    """The memory of a step, whose name also holds its seed: train/rescue/seed-0 is one of train/rescue."""
    plain = re.sub(r"/seed-\d+", "", step)
    return next((need.row() for need in memory if plain == need.step or plain.startswith(f"{need.step}/")), None)


def takes(forecast: Forecast) -> str:
    """A step's estimate in a line."""
    found = forecast.estimate
    if found is None:
        return ""
    if "calls" in found:
        return expected(found)
    return (
        f"{found['steps']:,} steps, {found['useful_tokens']:,} tokens, {found['operations']:.1e} operations, "
        f"{found['peak_bytes'] / 2**30:.1f} GiB, {duration(found['seconds'])}; {found['layout'].split(':')[0]}"
    )


def duration(seconds: float) -> str:
    """The duration in words, rounded coarsely because it is an estimate."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def show_results(run: Run, *, as_json: bool) -> None:
    """The table of results and where the report is."""
    report = run.artifacts.get("report")
    results = report.manifest.metrics["results"] if report else []
    if as_json:
        path = str(report_path(run)) if report else None
        missing = shortfalls(done.artifact for done in run.done)
        print(json.dumps({**run.describe(), "results": results, "report": path, "missing": missing}, indent=1))
        return
    if report and results:
        show_rows(results)
        print(report.manifest.metrics["conclusion"])
        print(report.manifest.metrics.get("read", ""))  # reports of older versions lack it
    cached = sum(done.cached for done in run.done)
    print(f"{len(run.done)} steps, {cached} cached, {sum(done.seconds for done in run.done):.0f} s. Run {run.run_id}")
    if missing := shortfalls(done.artifact for done in run.done):
        print("What is missing:")
        for sentence in missing:
            print(f"  {sentence}")
    for done in run.done:
        if failed := done.artifact.manifest.open_units.get("failed"):
            print(f"{done.step}: {failed} failed for now; the same command asks for them again.")
    if report:
        print(f"Report: {report_path(run)}")
