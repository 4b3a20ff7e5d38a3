"""Says in sentences what a run expected and did not get, for the report, the artifact pages and the terminal."""

from collections.abc import Iterable, Iterator

from hasse.pipeline.store import Artifact

FINE: dict[str, frozenset[str]] = {
    "candidate": frozenset({"ok", "truncated"}),
    "evaluation": frozenset({"ok", "truncated"}),
}
"""Table -> statuses of rows that later steps use; of other tables they use only ok rows."""
QUIET = ("curve_point", "checkpoint", "prompt")
"""Tables whose other rows are no loss. The prompts step reports by itself what its source left out."""
FEW = 0.5
"""An arm that trains on less than this share of the examples is named."""


def shortfalls(artifacts: Iterable[Artifact]) -> list[str]:
    """A sentence for each step that lost rows and for each arm that trained on few examples; empty for a full run."""
    sentences: dict[str, None] = {}
    for artifact in artifacts:
        sentences.update(dict.fromkeys(_lost(artifact)))
        sentences.update(dict.fromkeys(_few(artifact)))
    return list(sentences)


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
            yield f"{step}: {sum(lost.values()):,} of {total:,} rows of the table {name} are not used: {kinds}."


def _of_judges(artifact: Artifact) -> Iterator[tuple[str, str, dict[str, int]]]:
    for judge, metrics in artifact.manifest.metrics.get("judges", {}).items():
        yield judge, "judgement", metrics.get("counts", {})


def _few(artifact: Artifact) -> Iterator[str]:
    counts = artifact.manifest.metrics.get("examples")
    if artifact.stage != "train" or not isinstance(counts, dict) or "used" not in counts:
        return
    used, offered = counts["used"], counts["offered"]
    whole = offered + counts.get("unusable", 0)
    if used < FEW * whole:
        yield f"{artifact.step or artifact.manifest.name}: trained on only {used:,} of {whole:,} examples."
