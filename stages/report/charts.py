"""The charts of a report: intervals of the arms, and curves of their training runs."""

from collections.abc import Sequence

from markupsafe import Markup

from hasse.data.records import CurvePoint
from hasse.pipeline.store import Artifact
from hasse.stages.report.answers import arm_of
from hasse.stages.report.results import Result
from hasse.stages.report.svg import COLOURS, IntervalMark, Line, colours, interval_plot, line_chart, smoothed

SMOOTHING_STEPS = 10
CURVE_TITLES = {
    "loss": "Loss",
    "sft": "NLL of the target, nats per token",
    "rank": "Ranking hinge per prompt",
    "violations": "Share of pairs out of order",
}


def interval_plots(results: Sequence[Result]) -> dict[str, Markup]:
    """Decoding -> the means of its arms with their intervals."""
    colour = colours(result.arm for result in results)
    plots = {}
    for decoding in dict.fromkeys(result.decoding for result in results):
        rows = [
            IntervalMark(label=r.arm, mean=mean.mean, low=mean.low, high=mean.high, colour=colour[r.arm])
            for r in results
            if r.decoding == decoding and (mean := r.compared)
        ]
        if rows:
            plots[decoding] = Markup(interval_plot(rows))  # its labels are escaped where they are drawn
    return plots


def curves(trained: Sequence[Artifact]) -> list[tuple[str, Markup]]:
    """(title, chart) of each metric, with one line for each training run."""
    colour = colours(["student", *map(arm_of, trained)])
    lines: dict[str, list[Line]] = {}
    for artifact in trained:
        points: dict[str, list[tuple[float, float]]] = {}
        for point in artifact.records(CurvePoint):
            points.setdefault(point.metric, []).append((point.step, point.value))
        arm = arm_of(artifact)
        for metric, values in points.items():
            line = Line(label=arm, points=smoothed(values, SMOOTHING_STEPS), colour=colour.get(arm, COLOURS[0]))
            lines.setdefault(metric, []).append(line)
    return [(title, Markup(line_chart(lines[m], title=title))) for m, title in CURVE_TITLES.items() if m in lines]
