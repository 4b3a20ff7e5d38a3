"""Drawings as SVG: a plot of intervals, a line chart, a Hasse diagram. Every text is escaped."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hasse.stages.order.partial_order import Edge, transitive_reduction

Point = tuple[float, float]

COLOURS = (
    "#3b6fb6",
    "#c4722a",
    "#3f8f5f",
    "#8b5fb0",
    "#b8465a",
    "#5b7f8c",
    "#8f7a2e",
    "#6b6b6b",
    "#2a9d9d",
    "#d1478c",
    "#7d5a3c",
    "#a3b13a",
)

STEP_X, STEP_Y, MARGIN = 112, 84, 34
"""Distances between the nodes of a Hasse diagram, and from its nodes to its edge, in pixels."""
CLEARANCE = 24
"""How near a line may come to a node that it does not join, in pixels."""
BOWS = tuple(sign * STEP_X * n / 2 for n in range(7) for sign in (1, -1))
"""How far a line may bend to the side, in pixels, in the order in which bends are tried."""
MOST_TICKS = 5
"""On the vertical axis of a line chart."""


@dataclass(frozen=True, kw_only=True)
class IntervalMark:
    """One row of an interval plot: a mean with its interval, each between 0 and 1."""

    label: str
    mean: float
    low: float
    high: float
    colour: str


@dataclass(frozen=True, kw_only=True)
class Line:
    label: str
    points: Sequence[tuple[float, float]]
    colour: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """A candidate in a Hasse diagram. verdict: True right, False wrong, None unknown."""

    name: str
    verdict: bool | None
    human: bool = False


def layers(names: Sequence[str], pairs: Iterable[Edge]) -> list[list[str]]:
    """The names in layers from the top down, each on the highest layer below all names above it.

    Raises ValueError when the pairs (better, worse) contain a cycle.
    """
    above: dict[str, set[str]] = {name: set() for name in names}
    for a, b in pairs:
        above[b].add(a)
    depth: dict[str, int] = {}
    while len(depth) < len(names):
        ready = [n for n in names if n not in depth and all(a in depth for a in above[n])]
        if not ready:
            raise ValueError("the pairs contain a cycle, so they are no order")
        depth |= {name: max((depth[a] + 1 for a in above[name]), default=0) for name in ready}
    return [[n for n in names if depth[n] == level] for level in range(max(depth.values(), default=-1) + 1)]


def hasse_diagram(nodes: Sequence[Node], pairs: Iterable[Edge]) -> str:
    """Better nodes above worse ones, with a line for each pair (better, worse) that does not follow from others."""
    edges = transitive_reduction(pairs)
    rows = layers([node.name for node in nodes], edges)
    width = max(len(row) for row in rows) * STEP_X + 20
    place = {
        name: (width / 2 + (i - (len(row) - 1) / 2) * STEP_X, MARGIN + level * STEP_Y)
        for level, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    lines = [_edge(place[a], place[b], place.values()) for a, b in sorted(edges)]
    circles = [_node(node, *place[node.name]) for node in nodes]
    above = "; ".join(f"{a} above {b}" for a, b in sorted(edges)) or "all incomparable"
    return _svg(width, MARGIN * 2 + (len(rows) - 1) * STEP_Y, "Hasse diagram", above, [*lines, *circles])


def interval_plot(rows: Sequence[IntervalMark]) -> str:
    """One row for each mean, a dot with its interval as a bar, on an axis that spans the intervals in steps of 10 %."""
    left, right, row_height, top = 190, 60, 26, 8
    width, height = 760, top + row_height * len(rows) + 34
    low = max(0.0, _floor(min((m.low for m in rows), default=0.0)))
    high = min(1.0, _floor(max((m.high for m in rows), default=1.0)) + 0.1)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    ticks = [low + 0.1 * i for i in range(round((high - low) / 0.1) + 1)]
    parts = [
        f'<line x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{top}" y2="{height - 28}" class="grid"/>'
        f'<text x="{x(t):.1f}" y="{height - 10}" class="axis" text-anchor="middle">{t:.0%}</text>'
        for t in ticks
    ]
    for i, interval in enumerate(rows):
        y = top + row_height * (i + 0.5)
        parts.append(
            f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(interval.label, 28))}</text>'
            f'<line x1="{x(interval.low):.1f}" x2="{x(interval.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"'
            f' stroke="{interval.colour}" stroke-width="3" stroke-linecap="round" opacity="0.55"/>'
            f'<circle cx="{x(interval.mean):.1f}" cy="{y:.1f}" r="5" fill="{interval.colour}"/>'
            f'<text x="{width - right + 12}" y="{y + 4:.1f}" class="axis">{interval.mean:.1%}</text>'
        )
    described = "; ".join(f"{m.label} {m.mean:.1%} ({m.low:.1%} to {m.high:.1%})" for m in rows)
    return _svg(width, height, "Means with 95 % intervals", described, parts)


def line_chart(lines: Sequence[Line], *, title: str) -> str:
    """Curves over training steps, on an axis that spans their values; "" without a point."""
    width, height, left, bottom, top = 420, 230, 50, 30, 10
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    if not xs:
        return ""
    ticks = _ticks(min(ys), max(ys))
    x0, x1, y0, y1 = min(xs), max(xs), ticks[0], ticks[-1]
    span_x, span_y = (x1 - x0) or 1.0, y1 - y0

    def place(x: float, y: float) -> str:
        across = left + (x - x0) / span_x * (width - left - 12)
        return f"{across:.1f},{height - bottom - (y - y0) / span_y * (height - bottom - top):.1f}"

    parts = []
    for value in ticks:
        y = float(place(x0, value).split(",")[1])
        parts.append(
            f'<line x1="{left}" x2="{width - 12}" y1="{y}" y2="{y}" class="grid"/>'
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end" class="axis">{value:g}</text>'
        )
    for x in dict.fromkeys((x0, (x0 + x1) // 2, x1)):
        across = place(x, y0).split(",")[0]
        parts.append(f'<text x="{across}" y="{height - 10}" text-anchor="middle" class="axis">{x:.0f}</text>')
    for line in lines:
        points = " ".join(place(x, y) for x, y in line.points)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="1.6" opacity="0.8"/>'
        )
    labels = ", ".join(dict.fromkeys(line.label for line in lines))
    return _svg(width, height, title, f"{title} over steps: {labels}", parts)


def smoothed(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """The points with each value replaced by the mean of itself and the values before it, `window` in all."""
    values = [y for _, y in points]
    means = [sum(values[max(0, i - window + 1) : i + 1]) / min(window, i + 1) for i in range(len(values))]
    return [(x, mean) for (x, _), mean in zip(points, means, strict=True)]


def colours(names: Iterable[str]) -> Mapping[str, str]:
    """Name -> colour, the same for the same names in the same order."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in even steps, from one at or below `low` to one at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
    step = next(power * n for n in (1, 2, 5, 10, 20) if power * n * (MOST_TICKS - 1) >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * i, 12) for i in range(first, max(last, first + 1) + 1)]


def _edge(upper: Point, lower: Point, nodes: Iterable[Point]) -> str:
    """A straight line, or the flattest curve that stays clear of the nodes between."""
    (x0, y0), (x1, y1) = upper, lower
    between = [(x, (y - y0) / (y1 - y0)) for x, y in nodes if y0 < y < y1]

    def is_clear(bow: float) -> bool:
        return all(abs(x0 + (x1 - x0) * t + 2 * t * (1 - t) * bow - x) > CLEARANCE for x, t in between)

    bow = next(filter(is_clear, BOWS), 0.0)
    curve = f"Q{(x0 + x1) / 2 + bow:.1f},{(y0 + y1) / 2:.1f} {x1:.1f},{y1:.1f}"
    return f'<path d="M{x0:.1f},{y0:.1f} {curve}" class="edge"/>'


def _node(node: Node, x: float, y: float) -> str:
    """A node whose colour and sign show the verdict; a ring around it marks an answer that a person wrote."""
    kind, sign = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("unknown", "?")}[node.verdict]
    rim = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="17" class="rim"/>' if node.human else ""
    return (
        f'<g class="node {kind}">{rim}<circle cx="{x:.1f}" cy="{y:.1f}" r="13"/>'
        f'<text x="{x:.1f}" y="{y + 5:.1f}" text-anchor="middle" class="sign">{sign}</text>'
        f'<text x="{x:.1f}" y="{y + 31:.1f}" text-anchor="middle">{escape(_short(node.name, 16))}</text></g>'
    )


def _svg(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _floor(value: float) -> float:
    return int(value * 10) / 10
