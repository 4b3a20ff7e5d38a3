"""The table of results that the terminal and Prefect show, and how its answers were read."""

from collections.abc import Sequence
from typing import Any

from hasse.stages.grading import TaskSettings
from hasse.stages.report.answers import SCORE
from hasse.stages.report.results import Result


def result_rows(results: Sequence[Result], baselines: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each result: accuracies in per cent, differences in points."""
    has_drift = any(result.drift for result in results)
    return [_row(result, baselines, has_drift=has_drift) for result in results]


def _row(result: Result, baselines: Sequence[str], *, has_drift: bool) -> dict[str, Any]:
    """Make a row of the table. Without gold answers, nearness to the experts' answers takes the place of accuracy."""
    cells: dict[str, Any] = {"arm": result.arm, "decoding": result.decoding}
    if result.compared:
        mean = result.compared
        cells["accuracy %" if result.accuracy else "nearness %"] = round(100 * mean.mean, 1)
        cells["95 % interval"] = f"{100 * mean.low:.1f} to {100 * mean.high:.1f}"
    if result.score and result.accuracy:
        cells["score %"] = round(100 * result.score.mean, 1)
    for baseline in baselines:
        d = result.differences.get(baseline)
        cells[f"vs {baseline}"] = f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})" if d else ""
    if result.pairs:
        cells["pairs %"] = round(100 * result.pairs.mean, 1)
    if has_drift:
        cells["drift"] = f"{result.drift.mean:+.3f}" if result.drift else ""
    for group, interval in result.by_group.items():
        cells[group] = round(100 * interval.mean, 1)
    cells["sequences"] = result.sequences or ""
    return {**cells, "seeds": result.num_seeds, "prompts": result.num_prompts}


def how_answers_were_read(task: TaskSettings, results: Sequence[Result]) -> str:
    """Say in a sentence what counts as right in this run."""
    measure = results[0].measure if results else None
    if measure == SCORE:
        return "No prompt has a gold answer, so the nearness to the experts' answers (task.score) is compared."
    if measure is None:
        return "No prompt has a gold answer or an expert's answer, so there is nothing to compare the answers with."
    return f"The judge and the evaluation read answers by the reading {task.primary!r}: {task.in_words()}."
