"""The texts of a step on Prefect's pages: its name with numbers, and a page in Markdown."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from hasse.data.records import Candidate, Judgement, PartialOrder
from hasse.flows.run.artifact_rows import rows
from hasse.pipeline.manifest import Manifest
from hasse.pipeline.run import Done
from hasse.pipeline.stage import Step, producer
from hasse.pipeline.store import Artifact
from hasse.stages.order.judged import is_human
from hasse.stages.report.svg import Node, hasse_diagram

SAMPLE_ROWS = 3
MAX_CELL = 120
BY_WHOM = ["prompt_id", "candidate_id", "text", "source"]
"""Columns of candidates that are read to find out who wrote them."""
LOOK = (
    "<style>text{font:12px system-ui,sans-serif;fill:#3d4650}.edge{fill:none;stroke:#7d8791;stroke-width:1.6}"
    ".node circle{stroke:#fff;stroke-width:3}.right circle{fill:#2f8a57}.wrong circle{fill:#bd4b4b}"
    ".unknown circle{fill:#6b7680}.node circle.rim{fill:none;stroke:#3b6fb6;stroke-width:2}"
    ".node .sign{fill:#fff;font-weight:700}</style>"
)
"""The style of a picture, since a picture in an <img> does not see the style of its page."""


def label(step: str, manifest: Manifest) -> str:
    """`generate · 1,600 candidates · 352 of 400 found`: the step, its rows, and how many were found in the store."""
    parts = [step]
    for name, by_status in manifest.counts.items():
        if name not in ("curve_point", "checkpoint"):
            parts.append(f"{sum(by_status.values()):,} {name.replace('_', ' ')}s")
            parts += [f"{n:,} {status}" for status, n in by_status.items() if status != "ok"]
            break
    units, found = (manifest.metrics.get(name) for name in ("units", "units_found"))
    return " · ".join(parts + ([f"{found:,} of {units:,} found"] if found else []))


def page(done: Done, step: Step, artifacts: Mapping[str, Artifact]) -> str:
    """The page of a step: path, counts by status, a picture of an order, metrics, and a few rows."""
    manifest = done.artifact.manifest
    parts = [f"# {done.step}", f"`{done.artifact.path}`"]
    if step.stage.name == "report":
        parts += _results(done.artifact)
    if manifest.counts:
        parts.append(table(_counts(manifest), limit=1000))
    if step.stage.name == "order":
        parts += order_picture(done.artifact, step, artifacts)
    if numbers := _numbers(manifest.metrics):
        parts += ["## metrics", table(numbers, limit=40)]
    for name in manifest.counts:
        sample = rows(done.artifact, table=name, prompt_id=None, status=None, limit=SAMPLE_ROWS)
        parts += [f"## {name}", table(sample, limit=SAMPLE_ROWS)]
    return "\n\n".join(parts)


def table(found: list[dict[str, Any]], *, limit: int) -> str:
    """Rows as a Markdown table, without empty columns."""
    if not found:
        return "no rows"
    columns = [name for name in found[0] if any(row.get(name) not in (None, [], "") for row in found)]
    head = ["| " + " | ".join(map(as_cell, columns)) + " |", "|" + "--|" * len(columns)]
    body = ["| " + " | ".join(as_cell(row.get(name)) for name in columns) + " |" for row in found[:limit]]
    return "\n".join(head + body)


def as_cell(value: Any) -> str:
    """Text that is safe in a Markdown table: without markup and line breaks, and not too long."""
    text = "" if value is None else str(value)
    text = text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
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


def _counts(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {"table": name, "status": status, "rows": f"{count:,}"}
        for name, by_status in manifest.counts.items()
        for status, count in by_status.items()
    ]


def _results(report: Artifact) -> list[str]:
    metrics, path = report.manifest.metrics, (report.path / "report.html").absolute()
    link = f"Report: [{path}](file://{path})"
    return [*_missing(metrics), link, as_cell(metrics["conclusion"]), table(metrics["results"], limit=100)]


def _missing(metrics: Mapping[str, Any]) -> list[str]:
    """List what the run expected and did not get."""
    sentences = metrics.get("missing", [])
    listed = "\n".join(f"- {as_cell(sentence)}" for sentence in sentences)
    return ["**What is missing**", listed] if sentences else []


def order_picture(orders: Artifact, step: Step, artifacts: Mapping[str, Artifact]) -> list[str]:
    """The Hasse diagram of the first prompt whose candidates are not all incomparable."""
    order = next((order for order in orders.records(PartialOrder) if order.pairs), None)
    if order is None:
        return []
    verdicts = dict(_verdicts(order.prompt_id, step, artifacts))
    experts = set(_experts(order.prompt_id, step, artifacts))
    nodes = [Node(name=name, verdict=verdicts.get(name), human=name in experts) for name in order.candidate_ids]
    svg = hasse_diagram(nodes, [(pair.above, pair.below) for pair in order.pairs])
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace("<title>", f"{LOOK}<title>", 1)
    encoded = base64.b64encode(svg.encode()).decode()
    return [f"## order of `{order.prompt_id[:12]}`", f"![Hasse diagram](data:image/svg+xml;base64,{encoded})"]


def _experts(prompt_id: str, step: Step, artifacts: Mapping[str, Artifact]) -> Iterator[str]:
    """The candidates of the prompt that a human wrote."""
    for name in step.inputs.get("candidates", ()):
        for candidate in artifacts[producer(name)].records(Candidate, columns=BY_WHOM):
            if candidate.prompt_id == prompt_id and is_human(candidate):
                yield candidate.candidate_id


def _verdicts(prompt_id: str, step: Step, artifacts: Mapping[str, Artifact]) -> Iterator[tuple[str, bool | None]]:
    for name in step.inputs.get("judgements", ()):
        for judgement in artifacts[producer(name)].records(Judgement):
            if judgement.prompt_id == prompt_id:
                yield judgement.candidate_id, judgement.correct


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Every plain value. A nested value has a dotted name."""
    found: list[dict[str, Any]] = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float, str)):
            found.append({"metric": f"{prefix}{name}", "value": f"{value:,.4g}" if isinstance(value, float) else value})
    return found
