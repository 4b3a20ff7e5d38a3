"""The HTML page of a report, from the artifacts of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hasse.data.rendering import prompt_as_text
from hasse.pipeline.stage import Job
from hasse.pipeline.store import Artifact
from hasse.stages.evaluate import lm_eval
from hasse.stages.grading import READINGS
from hasse.stages.report.answers import UNKNOWN, GradedAnswers
from hasse.stages.report.audit_table import audit_table
from hasse.stages.report.benchmark_results import benchmark_results
from hasse.stages.report.charts import curves, interval_plots
from hasse.stages.report.duel_results import duel_results, elo_ratings
from hasse.stages.report.ordered_prompts import shown_prompts
from hasse.stages.report.results import Result
from hasse.stages.report.svg import colours

TEMPLATE = "page.html"


def page(
    job: Job,
    answers: GradedAnswers,
    results: Sequence[Result],
    *,
    headline: Sequence[str],
    how_read: str,
    missing: Sequence[str],
) -> str:
    """The page as text. headline: its first sentences; how_read: what counts as right; missing: what was lost."""
    report, task, recipe = job.settings.report, job.settings.task, job.settings.recipe
    has_confusions = task.labels and answers.graded
    return render(
        recipe=recipe,
        primary=task.primary,
        how_read=how_read,
        readings={name: task.in_words(name) for name in READINGS},
        results=results,
        headline=headline,
        missing=missing,
        plots=interval_plots(results),
        has_drift=any(result.drift for result in results),
        groups=sorted({group for result in results for group in result.by_group}),
        confusions=[answers.confusion(arm, task.primary) for arm in answers.rows] if has_confusions else [],
        labels=[*task.labels, UNKNOWN],
        benchmarks=benchmark_results(job.inputs.get("benchmark", []), num_resamples=report.num_resamples),
        lm_eval=[row for artifact in job.inputs.get("lm_eval", []) for row in _lm_eval_rows(artifact)],
        duels=duel_results(job.inputs.get("duel", [])),
        elo=elo_ratings(job.inputs.get("duel", [])),
        curves=curves(job.inputs["train"]),
        audit=audit_table(job.input("judgements"), recipe.get("audit", {})),
        costs=costs(job.inputs.get("paid", [])),
        legend=colours(answers.rows),
        prompts=shown_prompts(job, report.num_examples),
        steps=[artifact for name, artifacts in job.inputs.items() if name != "paid" for artifact in artifacts],
        split=job.input("prompts").manifest.metrics,
        settings=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True),
    )


def render(**values: Any) -> str:
    """The template with these values. Everything is escaped except the drawings, which escape their own texts."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals["shown"] = prompt_as_text
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}"
    return environment.get_template(TEMPLATE).render(**values)


def costs(paid: Sequence[Artifact]) -> list[dict[str, Any]]:
    """List what each step asked of chat endpoints over all its tries, and the estimate from before the first."""
    return [{"step": a.step, **a.manifest.metrics["cost"]} for a in paid if "cost" in a.manifest.metrics]


def _lm_eval_rows(artifact: Artifact) -> list[dict[str, Any]]:
    """The rows of one model, which is called by its arm and the seed of its training."""
    arm, seed = artifact.label("arm"), artifact.labels.get("seed")
    return lm_eval.rows(f"{arm}" if seed is None else f"{arm}, seed {seed}", artifact.manifest.metrics["tasks"])
