"""`hasse resume`: the same recipe, arguments and store."""

import json
import signal
import time

from hasse.pipeline.sealed import read_sealed, seal


def test_a_killed_run_goes_on_by_its_id(hasse):
    process = hasse.start("run", str(hasse.recipe), "--set", "evaluate.max_tokens=7")
    end = time.monotonic() + 120
    while not list(hasse.store.glob("judge/*/manifest.json")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (row,) = hasse.json("ls", "--runs")
    assert row["status"] == "killed"

    path = hasse.store / "runs" / f"{row['run']}.json"
    path.write_text(seal({**read_sealed(path, kind="record of a run"), "host": "another"}))
    assert hasse.json("ls", "--runs")[0]["status"] == "running"  # of what goes on there nothing is known here

    hasse.recipe.unlink()
    found = hasse.json("resume", row["run"][:8])
    steps = {step["step"]: step for step in found["steps"]}
    assert found["status"] == "done"
    assert found["recipe"]["evaluate"]["max_tokens"] == 7
    assert steps["judge"]["cached"]
    assert not steps["report"]["cached"]


def test_resuming_computes_anew_what_the_run_had_not_yet(hasse):
    first = hasse.run()
    path = next((hasse.store / "runs").glob("*.json"))
    record = read_sealed(path, kind="record of a run")
    created = json.loads((hasse.store / first["evaluate/student"]["ref"] / "manifest.json").read_text())["created"]
    record |= {"started": created, "how": {"from_stage": "evaluate", "only": None}}
    path.write_text(seal(record))
    steps = {step["step"]: step for step in hasse.json("resume", record["run_id"])["steps"]}
    assert all(step["cached"] for step in steps.values())

    record["started"] = "2999-01-01T00:00:00+00:00"
    path.write_text(seal(record))
    steps = {step["step"]: step for step in hasse.json("resume", record["run_id"])["steps"]}
    assert {name for name, step in steps.items() if not step["cached"]} == {
        "evaluate/student",
        "evaluate/sft/seed-0",
        "evaluate/rescue/seed-0",
        "report",
    }


def test_an_unknown_run_and_one_of_two_are_refused(finished):
    assert "no run 'nothing'" in finished("resume", "nothing", code=2)


def test_an_open_address_needs_a_password(hasse):
    text = hasse("up", "--host", "0.0.0.0", env={"PREFECT_SERVER_API_AUTH_STRING": ""}, code=2)
    assert "set PREFECT_SERVER_API_AUTH_STRING=user:password" in text
