"""The same run as a Prefect flow, against a real server on loopback: the same store, Cached states, artifacts."""

import pytest


@pytest.fixture
def server(up, tmp_path):
    """The environment of a client of the server."""
    return {"PREFECT_API_URL": f"{up.url}/api", "PREFECT_HOME": str(tmp_path / "home")}


def newest(up):
    """The run that began last. A scheduled night sorts by the time at which it is due, so it would come first."""
    begun = {"start_time": {"is_null_": False}}
    (run,) = up.api("/flow_runs/filter", {"flow_runs": begun, "limit": 1, "sort": "START_TIME_DESC"})
    return run


@pytest.mark.slow
def test_the_flow_leaves_the_same_store_and_shows_what_was_cached(hasse, finished, up, server):
    first = hasse("run", str(hasse.recipe), env=server)
    assert "Report: " in first
    expected = {name: step["ref"] for name, step in finished.steps.items()}
    run = newest(up)
    found = up.tasks(run["id"], len(expected))
    assert run["name"].startswith("tiny ")
    assert run["state_name"] == "Completed"
    assert set(found) == set(expected)
    assert set(found.values()) == {"Completed"}
    assert up.task_names["generate"].startswith("generate · 72 candidates")
    here = {row["step"]: row["ref"] for row in hasse.json("ls")}
    assert here == expected

    assert f"{len(expected)} steps, {len(expected)} cached" in hasse("run", str(hasse.recipe), env=server)
    assert set(up.tasks(newest(up)["id"], len(expected)).values()) == {"Cached"}

    path = next(hasse.store.glob("judge/*/judgement.parquet"))
    path.unlink()
    hasse("run", str(hasse.recipe), env=server)
    found = up.tasks(newest(up)["id"], len(expected))
    assert {name for name, state in found.items() if state == "Completed"} == {"judge"}
    assert up.task_names["judge"] == "judge · 72 judgements · 24 of 24 found"
    assert path.exists()

    artifacts = up.api("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})
    by_key = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert {"prompts", "generate", "train-rescue-seed-0", "report"} <= set(by_key)
    assert "| candidate | truncated |" in by_key["generate"]
    assert str(hasse.store) in by_key["generate"]
    assert "](data:image/svg+xml;base64," in by_key["order"]
    assert f"file://{hasse.store}/report/" in by_key["report"]
    assert "| arm |" in by_key["report"]


@pytest.mark.slow
def test_a_failed_stage_fails_the_run_and_keeps_what_is_done(hasse, up, server):
    changed = ["--set", "evaluate.split=validation", "--set", "source.num_validation=0"]
    assert "the split 'validation' has no prompts" in hasse("run", str(hasse.recipe), *changed, env=server, code=2)
    run = newest(up)
    found = up.tasks(run["id"], 8)
    assert run["state_name"] == "Failed"
    assert found["generate"] == "Completed"
    assert found["evaluate/student"] == "Failed"
    assert hasse.json("ls", "--runs")[0]["status"].startswith("InputError: ")
