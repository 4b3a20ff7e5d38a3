import itertools
import re
from xml.etree import ElementTree

import pytest

from hasse.stages.report.svg import (
    IntervalMark,
    Line,
    Node,
    hasse_diagram,
    interval_plot,
    layers,
    line_chart,
    smoothed,
)

NASTY = "<script>alert(1)</script>\"'&]]>"


@pytest.mark.parametrize("pairs", [{("a", "b"), ("b", "a")}, {("a", "b"), ("b", "c"), ("c", "a")}, {("a", "a")}])
def test_a_cycle_is_no_order(pairs):
    with pytest.raises(ValueError, match="cycle"):
        layers("abc", pairs)


def test_layers_put_better_above_worse():
    assert layers("abcd", {("a", "b"), ("b", "c"), ("a", "c")}) == [["a", "d"], ["b"], ["c"]]


def parsed(svg):
    return ElementTree.fromstring(svg)


def test_a_diagram_has_a_node_a_candidate_and_a_line_an_edge():
    nodes = [Node(name="h", verdict=True, human=True), Node(name="c", verdict=True), Node(name="w", verdict=False)]
    svg = parsed(hasse_diagram(nodes, {("h", "w"), ("c", "w")}))
    groups = svg.findall("g")
    assert [g.get("class") for g in groups] == ["node right", "node right", "node wrong"]
    assert len(svg.findall("path")) == 2
    heights = {g.findall("text")[1].text: float(g.find("circle").get("cy")) for g in groups}  # type: ignore[union-attr,arg-type]
    assert heights["h"] == heights["c"] < heights["w"]


def test_no_edge_runs_through_a_node_that_it_does_not_join():
    nodes = [Node(name=name, verdict=None) for name in "abcxyz"]
    svg = hasse_diagram(nodes, {("a", "b"), ("b", "c"), ("x", "y"), ("y", "z"), ("z", "c")})
    place = [tuple(map(float, xy)) for xy in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert len(place) == 6
    for path in re.findall(r'<path d="M(\S+) Q(\S+) (\S+)"', svg):
        start, bend, end = (tuple(map(float, point.split(","))) for point in path)
        for t in (i / 100 for i in range(101)):
            at = [(1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c for a, b, c in zip(start, bend, end, strict=True)]
            near = [node for node in place if abs(node[0] - at[0]) < 14 and abs(node[1] - at[1]) < 14]
            assert set(near) <= {start, end}


def test_nodes_of_a_layer_do_not_overlap():
    nodes = [Node(name=f"n{i}", verdict=None) for i in range(8)]
    places = [float(x) for x in re.findall(r'<g class="node unknown"><circle cx="([\d.]+)"', hasse_diagram(nodes, []))]
    assert len(places) == 8
    assert min(b - a for a, b in itertools.pairwise(places)) > 60


def test_texts_are_escaped():
    mark = IntervalMark(label=NASTY, mean=0.5, low=0.4, high=0.6, colour="#000")
    line = Line(label=NASTY, points=[(0, 1.0), (1, 0.5)], colour="#000")
    for svg in (
        hasse_diagram([Node(name=NASTY, verdict=True)], []),
        interval_plot([mark]),
        line_chart([line], title=NASTY),
    ):
        assert "<script" not in svg
        parsed(svg)


def test_the_plot_keeps_marks_inside_its_frame():
    marks = [
        IntervalMark(label=str(i), mean=m, low=low, high=high, colour="#000")
        for i, (m, low, high) in enumerate([(0.0, 0.0, 0.02), (1.0, 0.95, 1.0), (0.5, 0.1, 0.9)])
    ]
    svg = parsed(interval_plot(marks))
    assert all(190 <= float(c.get("cx", "")) <= 700 for c in svg.findall("circle"))


@pytest.mark.parametrize("hundredths", range(100, 1001, 5))
def test_a_line_chart_is_drawn_for_values_of_every_span(hundredths):
    chart = line_chart([Line(label="a", colour="#000", points=[(0, 0.0), (1, hundredths / 2000)])], title="Loss")
    ElementTree.fromstring(chart)


def test_a_line_chart_has_round_ticks_around_its_values():
    svg = parsed(line_chart([Line(label="a", points=[(1, 3.07), (20, 3.98)], colour="#000")], title="x"))
    labels = [text.text for text in svg.findall("text")]
    assert labels == ["3", "3.5", "4", "1", "10", "20"]
    (curve,) = svg.findall("polyline")
    heights = [float(point.split(",")[1]) for point in curve.get("points", "").split()]
    assert all(10 <= height <= 200 for height in heights)
    assert heights[0] > heights[1], "a higher value stands higher"


def test_a_line_chart_of_one_constant_has_an_axis():
    svg = parsed(line_chart([Line(label="a", points=[(5, 0.0)], colour="#000")], title="x"))
    assert "0" in [text.text for text in svg.findall("text")]


def test_smoothing_is_a_trailing_mean():
    assert smoothed([(1, 2.0), (2, 4.0), (3, 9.0)], 2) == [(1, 2.0), (2, 3.0), (3, 6.5)]
    assert line_chart([], title="x") == ""
