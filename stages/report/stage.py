"""Stage report: one self-contained HTML page, and the table of results as metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import Field

from hasse.data.joins import join
from hasse.data.records import Candidate, CurvePoint, Judgement, PartialOrder, Prompt
from hasse.data.rendering import shown
from hasse.data.settings import Config
from hasse.data.text import unit_hash
from hasse.pipeline.stage import Job, Stage
from hasse.pipeline.store import Artifact
from hasse.stages.evaluate import lm_eval
from hasse.stages.grading import READINGS, TaskSettings
from hasse.stages.order.judged import is_human
from hasse.stages.report.audit_table import audit_table
from hasse.stages.report.results import (
    SCORE,
    UNKNOWN,
    Answers,
    Result,
    arm_of,
    conclusion,
    measured,
    results,
    sequences,
)
from hasse.stages.report.shortfalls import shortfalls
from hasse.stages.report.svg import (
    COLOURS,
    IntervalMark,
    Line,
    Node,
    colours,
    hasse_diagram,
    interval_plot,
    line_chart,
    smoothed,
)

TEMPLATE = "page.html"
BY_WHOM = ["prompt_id", "candidate_id", "text", "source"]
"""Columns of candidates that tell who wrote them."""
SMOOTHING_STEPS = 10
CURVES = ("loss", "sft", "rank", "violations")
CURVE_TITLES = {
    "loss": "Loss",
    "sft": "NLL of the target, nats a token",
    "rank": "Ranking hinge, a prompt",
    "violations": "Pairs out of order, share",
}


class ReportSettings(Config):
    """The recipe's section `report`."""

    baselines: list[str] = Field(
        default=["student"], description="Arms that the others are compared with, prompt by prompt."
    )
    num_examples: int = Field(default=6, ge=0, description="Prompts shown with their candidates and order.")
    num_resamples: int = Field(default=2000, ge=100, description="Of the bootstrap.")


class ReportInputs(Config):
    """Settings of the report stage."""

    report: ReportSettings
    task: TaskSettings
    recipe: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ShownCandidate:
    candidate: Candidate
    judgement: Judgement | None
    level: float | None
    is_target: bool

    @property
    def verdict(self) -> bool | None:
        return self.judgement.correct if self.judgement else None

    @property
    def mean_logprob(self) -> float | None:
        c = self.candidate
        return None if c.logprob_sum is None or not c.logprobs else c.logprob_sum / len(c.logprobs)


@dataclass(frozen=True, kw_only=True)
class ShownPrompt:
    prompt: Prompt
    order: PartialOrder
    candidates: list[ShownCandidate]
    diagram: Markup


def run(job: Job) -> None:
    settings: ReportInputs = job.settings
    answers = Answers(job.inputs["evaluate"])
    found = results(
        answers,
        baselines=settings.report.baselines,
        primary=settings.task.primary,
        num_resamples=settings.report.num_resamples,
        sequences=sequences(job.inputs["train"]),
    )
    drifts = any(result.drift for result in found)
    sentences = conclusion(found, settings.report.baselines)
    read = _how_it_was_read(settings.task, found)
    missing = shortfalls(artifact for artifacts in job.inputs.values() for artifact in artifacts)
    page = render(
        recipe=settings.recipe,
        primary=settings.task.primary,
        read=read,
        readings={name: settings.task.in_words(name) for name in READINGS},
        results=found,
        conclusion=sentences,
        missing=missing,
        plots=interval_plots(found),
        drifts=drifts,
        groups=sorted({group for result in found for group in result.by_group}),
        confusions=[answers.confusion(arm, settings.task.primary) for arm in answers.rows]
        if settings.task.labels and answers.graded
        else [],
        labels=[*settings.task.labels, UNKNOWN],
        benchmarks=measured(job.inputs.get("benchmark", []), num_resamples=settings.report.num_resamples),
        harness=[
            line
            for artifact in job.inputs.get("lm_eval", [])
            for line in lm_eval.rows(_model_name(artifact), artifact.manifest.metrics["tasks"])
        ],
        curves=curves(job.inputs["train"]),
        audit=audit_table(job.input("judgements"), settings.recipe.get("audit", {})),
        costs=costs(job.inputs.get("paid", [])),
        legend=colours(answers.rows),
        prompts=shown_prompts(job, settings.report.num_examples),
        steps=[artifact for name, artifacts in job.inputs.items() if name != "paid" for artifact in artifacts],
        split=job.input("prompts").manifest.metrics,
        settings=yaml.safe_dump(settings.recipe, sort_keys=False, allow_unicode=True),
    )
    (job.path / "report.html").write_text(page, encoding="utf-8")
    job.metrics |= {
        "results": [row(r, settings.report.baselines, drifts=drifts) for r in found],
        "conclusion": "\n".join(sentences),
        "read": read,
        "missing": missing,
    }


def _model_name(artifact: Artifact) -> str:
    """The arm, and the seed of a trained model."""
    return "/seed-".join(str(artifact.labels[name]) for name in ("arm", "seed") if name in artifact.labels)


def render(**values: Any) -> str:
    """The page. Everything is escaped but the drawings, which escape their own texts."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals["shown"] = shown
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}"
    return environment.get_template(TEMPLATE).render(**values)


def row(result: Result, baselines: Sequence[str], *, drifts: bool) -> dict[str, Any]:
    """A result as a row of the table that the terminal shows; accuracies in per cent, differences in points.

    Without gold answers there is no accuracy: nearness to the experts' answers takes its place.
    """
    cells: dict[str, Any] = {"arm": result.arm, "decoding": result.decoding}
    if result.compared:
        main = result.compared
        cells["accuracy %" if result.accuracy else "nearness %"] = round(100 * main.mean, 1)
        cells["95 % interval"] = f"{100 * main.low:.1f} to {100 * main.high:.1f}"
    if result.score and result.accuracy:
        cells["score %"] = round(100 * result.score.mean, 1)
    for baseline in baselines:
        d = result.differences.get(baseline)
        cells[f"vs {baseline}"] = f"{100 * d.mean:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})" if d else ""
    if result.pairs:
        cells["pairs %"] = round(100 * result.pairs.mean, 1)
    if drifts:
        cells["drift"] = f"{result.drift.mean:+.3f}" if result.drift else ""
    for group, interval in result.by_group.items():
        cells[group] = round(100 * interval.mean, 1)
    cells["sequences"] = result.sequences or ""
    return {**cells, "seeds": result.num_seeds, "prompts": result.num_prompts}


def _how_it_was_read(task: TaskSettings, found: Sequence[Result]) -> str:
    """What counts as right in this run, in a sentence."""
    measure = found[0].measure if found else None
    if measure == SCORE:
        return "No prompt has a gold answer: nearness to the experts' answers is compared, by task.score."
    if measure is None:
        return "No prompt has a gold answer or an expert's: there is nothing to compare the answers with."
    return f"Answers are read by the reading {task.primary!r}, in judging as in evaluation: {task.in_words()}."


def interval_plots(found: Sequence[Result]) -> dict[str, Markup]:
    """Decoding -> plot."""
    colour = colours(result.arm for result in found)
    plots = {}
    for decoding in dict.fromkeys(result.decoding for result in found):
        marks = []
        for result in found:
            if result.decoding == decoding and (main := result.compared):
                marks.append(
                    IntervalMark(
                        label=result.arm, mean=main.mean, low=main.low, high=main.high, colour=colour[result.arm]
                    )
                )
        if marks:
            plots[decoding] = Markup(interval_plot(marks))  # its labels are escaped where they are drawn
    return plots


def curves(trained: Sequence[Artifact]) -> list[Markup]:
    """One chart a metric, one line a run."""
    colour = colours(["student", *map(arm_of, trained)])
    lines: dict[str, list[Line]] = {}
    for artifact in trained:
        points: dict[str, list[tuple[float, float]]] = {}
        for point in artifact.records(CurvePoint):
            points.setdefault(point.metric, []).append((point.step, point.value))
        for metric, values in points.items():
            arm = arm_of(artifact)
            lines.setdefault(metric, []).append(
                Line(label=arm, points=smoothed(values, SMOOTHING_STEPS), colour=colour.get(arm, COLOURS[0]))
            )
    return [Markup(line_chart(lines[m], title=CURVE_TITLES[m])) for m in CURVES if m in lines]


def costs(paid: Sequence[Artifact]) -> list[dict[str, Any]]:
    """What each step asked of chat endpoints over all its tries, and what was expected before the first."""
    return [{"step": a.step, **a.manifest.metrics["cost"]} for a in paid if "cost" in a.manifest.metrics]


def shown_prompts(job: Job, number: int) -> list[ShownPrompt]:
    """Prompts whose candidates are really ordered, those with an expert's answer first, else by a hash of the id."""
    ordered = [o for o in job.input("orders").records(PartialOrder) if o.pairs]
    by_expert = {c.prompt_id for c in job.input("candidates").records(Candidate, columns=BY_WHOM) if is_human(c)}
    ordered.sort(key=lambda o: (o.prompt_id not in by_expert, unit_hash("shown", o.prompt_id)))
    half = number // 2
    chosen = ordered[: number - half] + [o for o in ordered[number - half :] if o.prompt_id not in by_expert][:half]
    orders = {o.prompt_id: o for o in chosen}
    prompts = (p for p in job.input("prompts").records(Prompt) if p.prompt_id in orders)
    candidates = (c for c in job.input("candidates").records(Candidate) if c.prompt_id in orders)
    judgements = (j for j in job.input("judgements").records(Judgement) if j.prompt_id in orders)
    return [_shown(p, orders[p.prompt_id], c, j) for p, c, j in join(prompts, candidates, judgements)]


def _shown(
    prompt: Prompt, order: PartialOrder, candidates: list[Candidate], judgements: list[Judgement]
) -> ShownPrompt:
    by_id = {c.candidate_id: c for c in candidates}
    verdicts = {j.candidate_id: j for j in judgements}
    shown = [
        ShownCandidate(candidate=by_id[i], judgement=verdicts.get(i), level=level, is_target=i == order.target)
        for i, level in zip(order.candidate_ids, order.levels, strict=True)
    ]
    nodes = [Node(name=c.candidate.candidate_id, verdict=c.verdict, human=is_human(c.candidate)) for c in shown]
    diagram = hasse_diagram(nodes, [(pair.above, pair.below) for pair in order.pairs])
    return ShownPrompt(prompt=prompt, order=order, candidates=shown, diagram=Markup(diagram))


STAGE = Stage(
    name="report",
    run=run,
    assets=("stages/report/page.html",),
)
