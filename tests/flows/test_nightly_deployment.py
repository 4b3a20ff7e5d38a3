"""Nights by their deployment at a real server: three of them, two at once, and one that comes too late."""

from datetime import UTC, datetime, timedelta

import pytest

from hasse.data.records import Prompt
from hasse.flows.run.history import read_history
from tests.flows.colours import ABSURD, Place, append, row
from tests.flows.prefect_up import ENDED, Up

NEVER = "nightly={start: latest, cron: 0 0 29 2 *, max_late_hours: 6}"
"""A schedule that no test meets."""
NIGHTLY = "nightly/colours"


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path, NEVER)
    append(found.rows / "1.jsonl", [row(i, why="label: warm", split="pretrain") for i in range(1000, 1064)])
    return found


@pytest.fixture
def up(place, tmp_path):
    started = Up(tmp_path, tmp_path, "--recipe", str(tmp_path / "colours.yaml"))
    try:
        yield started.wait(deployments=4)
    finally:
        started.stop()


def ended(up, *run_ids):
    return [up.until(run_id, *ENDED) for run_id in run_ids]


def trained_prompts(artifacts):
    return {p.prompt_id for p in artifacts["prompts"].records(Prompt) if p.split == "train"}


def made(place):
    """Step -> artifact of the run that was recorded last."""
    from hasse.flows.run.records import read_runs

    steps = read_runs(place.store)[-1]["steps"]
    return {step["step"]: place.store.open(place.store.root / step["ref"]) for step in steps}


@pytest.mark.slow
def test_three_nights_of_which_one_is_started_twice_and_a_fourth_that_is_late(up, place):
    asked, runs = set(), []
    for night, change in enumerate([ABSURD, None, ABSURD]):
        append(place.rows / f"{night + 1}.jsonl", map(row, range(50 * night, 50 * (night + 1))))
        recipe = place.recipe(*filter(None, [change])).form_values()
        started = [up.start(NIGHTLY, recipe=recipe) for _ in range(2 if night == 1 else 1)]
        found = sorted(ended(up, *started), key=lambda run: run["state_type"], reverse=True)
        assert found[0]["state_type"] == "COMPLETED", found[0]["state"]["message"]
        runs += found
        artifacts = made(place)
        before, asked = asked, trained_prompts(artifacts)
        new = len(asked - before)
        assert before < asked
        assert 25 < new < 45
        computed = {step: artifacts[step].manifest.metrics["units_computed"] for step in ("generate", "judge", "order")}
        assert computed == {"generate": 2 * new, "judge": new, "order": new}

    first, second, dropped, third = runs
    assert dropped["state_type"] == "CANCELLED"
    assert dropped["state"]["message"] == "Deployment concurrency limit reached."
    history = read_history(place.store, "colours")
    assert [night.night for night in history.nights] == [first["id"], second["id"], third["id"]]
    assert [night.promoted for night in history.nights] == [False, True, False]
    assert history.nights[2].comparison.high < 0
    assert history.nights[2].rival_checkpoint == history.nights[1].checkpoint
    assert history.latest == history.nights[1]

    (late,) = ended(up, up.start(NIGHTLY, at=datetime.now(UTC) - timedelta(hours=7.31)))
    assert (late["state_type"], late["state_name"]) == ("CANCELLED", "Dropped")
    assert late["state"]["message"] == "dropped, 7.3 hours late"
    assert read_history(place.store, "colours") == history
