"""What a step says on Prefect's pages."""

from hasse.flows.server import progress
from hasse.flows.server.artifact_pages import as_cell, label, table
from hasse.pipeline.manifest import Manifest


def manifest(**values):
    return Manifest(stage="generate", fingerprint="f", name="generate", key={}, identity={}, files={}, **values)


def test_a_label_says_how_much_and_what_was_there():
    counts = {"candidate": {"ok": 1200, "truncated": 3}}
    assert label("generate", manifest(counts=counts)) == "generate · 1,203 candidates · 3 truncated"
    metrics = {"units": 400, "units_found": 352}
    assert label("generate", manifest(metrics=metrics, counts={"curve_point": {"ok": 9}})) == (
        "generate · 352 of 400 found"
    )


def test_markup_in_the_data_does_not_reach_the_page():
    assert as_cell("<img src=x onerror=y>|[a](javascript:b)`") == (
        "&lt;img src=x onerror=y&gt;&#124;&#91;a](javascript:b)&#96;"
    )
    assert table([{"a|": "b\nc", "empty": None}], limit=5) == "| a&#124; |\n|--|\n| b ⏎ c |"


def test_progress_is_shown_late_and_seldom(monkeypatch):
    now, shown = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "create_progress_artifact", lambda p, **_: shown.append((now[0], p)) or "id")
    monkeypatch.setattr(progress, "update_progress_artifact", lambda _, p, **__: shown.append((now[0], p)))
    quick = progress.ProgressArtifact("judge", "judge-progress")
    quick(1, 2)
    quick.finish()
    assert shown == []
    long = progress.ProgressArtifact("train", "train-progress")
    for second in range(12):
        now[0] = float(second)
        long(second, 20)
    long.finish()
    assert shown == [(5.0, 25.0), (8.0, 40.0), (11.0, 55.0), (11.0, 100.0)]
