"""What a run expected and did not get, in sentences: for the first lines of a report, a page and the terminal."""

from collections.abc import Iterable, Iterator

from hasse.pipeline.store import Artifact

FINE: dict[str, frozenset[str]] = {
    "candidate": frozenset({"ok", "truncated"}),
    "evaluation": frozenset({"ok", "truncated"}),
}
"""Table -> statuses of rows that go on; of other tables only ok rows do."""
QUIET = ("curve_point", "checkpoint", "prompt")
"""Prompts are counted where they are split; what a source leaves out is said there."""
FEW = 0.5
"""An arm that learns from less than this share of the examples is named."""


def shortfalls(artifacts: Iterable[Artifact]) -> list[str]:
    """One sentence a step that lost rows, and one an arm that learned from few examples; empty when all is there."""
    found: dict[str, None] = {}
    for artifact in artifacts:
        found.update(dict.fromkeys(_lost(artifact)))
        found.update(dict.fromkeys(_few(artifact)))
    return list(found)


def _lost(artifact: Artifact) -> Iterator[str]:
    manifest, step = artifact.manifest, artifact.step or artifact.manifest.name
    counts = {name: by_status for name, by_status in manifest.counts.items() if name not in QUIET}
    counts |= {f"{name} of judge {judge}": by_status for judge, name, by_status in _of_judges(artifact)}
    for table, by_status in counts.items():
        fine = FINE.get(table, frozenset({"ok"}))
        lost = {status: n for status, n in by_status.items() if status not in fine}
        if lost:
            total = sum(by_status.values())
            kinds = ", ".join(f"{n:,} {status}" for status, n in lost.items())
            name = table.replace("_", " ")
            yield f"{step}: {sum(lost.values()):,} of {total:,} rows of the table {name} did not make it: {kinds}."


def _of_judges(artifact: Artifact) -> Iterator[tuple[str, str, dict[str, int]]]:
    for judge, found in artifact.manifest.metrics.get("judges", {}).items():
        yield judge, "judgement", found.get("counts", {})


def _few(artifact: Artifact) -> Iterator[str]:
    counts = artifact.manifest.metrics.get("examples")
    if artifact.stage != "train" or not isinstance(counts, dict) or "used" not in counts:
        return
    used, offered = counts["used"], counts["offered"]
    whole = offered + counts.get("unusable", 0)
    if used < FEW * whole:
        yield f"{artifact.step or artifact.manifest.name}: learned from {used:,} of {whole:,} examples alone."
