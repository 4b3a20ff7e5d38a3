"""The same run as a Prefect flow, against a real server on loopback: the same store, Cached states, artifacts."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The environment of a client of a fresh server."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {
        "PREFECT_HOME": str(home),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_CLI_PROMPT": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}/api"
    end = time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2)
            break
        except OSError:
            assert process.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.5)
    yield {**environment, "PREFECT_API_URL": url}
    process.terminate()
    process.wait(30)


def api(server, path, body):
    import json

    request = urllib.request.Request(
        server["PREFECT_API_URL"] + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return json.loads(urllib.request.urlopen(request, timeout=30).read())


def states(server):
    """Task name -> state name, of the newest flow run."""
    (run,) = api(server, "/flow_runs/filter", {"limit": 1, "sort": "START_TIME_DESC"})
    tasks = api(server, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200})
    return run, {task["name"]: task["state_name"] for task in tasks}


def settled(server, count):
    """The states once the server has recorded as many tasks; it does so a little later."""
    end = time.monotonic() + 60
    while True:
        run, found = states(server)
        if len(found) >= count and not {"Running", "Pending"} & set(found.values()):
            return run, found
        assert time.monotonic() < end, found
        time.sleep(0.5)


def test_the_flow_leaves_the_same_store_and_shows_what_was_cached(hasse, finished, server):
    first = hasse("run", str(hasse.recipe), env=server)
    assert "Report: " in first
    expected = {name: step["ref"] for name, step in finished.steps.items()}
    run, found = settled(server, len(expected))
    assert run["name"].startswith("tiny ")
    assert run["state_name"] == "Completed"
    assert set(found) == set(expected)
    assert set(found.values()) == {"Completed"}
    here = {row["step"]: row["ref"] for row in hasse.json("ls")}
    assert here == expected

    assert f"{len(expected)} steps, {len(expected)} cached" in hasse("run", str(hasse.recipe), env=server)
    _, found = settled(server, len(expected))
    assert set(found.values()) == {"Cached"}

    path = next(hasse.store.glob("judge/*/judgement.parquet"))
    path.unlink()
    hasse("run", str(hasse.recipe), env=server)
    _, found = settled(server, len(expected))
    assert {name for name, state in found.items() if state == "Completed"} == {"judge"}
    assert path.exists()

    artifacts = api(server, "/artifacts/filter", {"limit": 200})
    by_key = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert {"prompts", "generate", "train-rescue-seed-0", "report"} <= set(by_key)
    assert "| candidate | ok |" in by_key["generate"] or "| candidate | truncated |" in by_key["generate"]
    assert str(hasse.store) in by_key["generate"]


def test_a_failed_stage_fails_the_run_and_keeps_what_is_done(hasse, server):
    text = hasse(
        "run",
        str(hasse.recipe),
        "--set",
        "evaluate.split=validation",
        "--set",
        "source.num_validation=0",
        env=server,
        code=2,
    )
    assert "no prompts in the split 'validation'" in text
    run, found = settled(server, 8)
    assert run["state_name"] == "Failed"
    assert found["generate"] == "Completed"
    assert found["evaluate/student"] == "Failed"


def test_markup_in_the_data_does_not_reach_the_page():
    from flows.prefect_flow import _cell

    assert _cell("<img src=x onerror=y>|[a](javascript:b)`") == (
        "&lt;img src=x onerror=y&gt;&#124;&#91;a](javascript:b)&#96;"
    )
