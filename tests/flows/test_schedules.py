"""Schedules that fire: the real server schedules the nights of a recipe, and they start by themselves."""

import os
import signal
import sqlite3
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import yaml

from hasse.flows.run.history import read_history
from hasse.pipeline.store import Store
from tests.flows.colours import Place, append, row
from tests.flows.conftest import NIGHTS, ZONE
from tests.flows.prefect_up import ENDED, Up

NIGHTLY = "nightly/nights"
WEEKLY = {"cron": "15 5 * * 0", "timezone": "America/New_York"}


def due(run, zone=ZONE):
    return datetime.fromisoformat(run["expected_start_time"]).astimezone(zone)


def schedules(up, deployment):
    """(cron, time zone, slug) of each schedule that is switched on."""
    found = up.deployment(deployment)["schedules"]
    return {(s["schedule"]["cron"], s["schedule"]["timezone"], s["slug"]) for s in found if s["active"]}


def add_schedule(up, deployment, schedule):
    """As the page does; gives the path of what was made."""
    path = f"/deployments/{up.deployment(deployment)['id']}/schedules"
    (made,) = up.api(path, [{"active": True, "schedule": schedule}])
    return f"{path}/{made['id']}"


def test_the_server_schedules_the_nights_of_a_recipe(up):
    runs = up.until_runs(NIGHTLY, "SCHEDULED")
    assert {(run["auto_scheduled"], run["created_by"]["type"], run["state_name"]) for run in runs} == {
        (True, "SCHEDULE", "Scheduled")
    }
    minute, hour, *_ = NIGHTS["nightly"]["cron"].split()
    assert {(due(run).hour, due(run).minute) for run in runs} == {(int(hour), int(minute))}
    days = [due(run).date() for run in runs]
    assert days == [days[0] + timedelta(days=i) for i in range(len(days))]
    assert timedelta(0) < due(runs[0]) - datetime.now(ZONE) < timedelta(days=1)
    up.says(f"Next runs of {NIGHTLY}: {due(runs[0]):%a %Y-%m-%d %H:%M %Z}, ")
    limit = up.deployment(NIGHTLY)["concurrency_options"]
    assert (up.deployment(NIGHTLY)["global_concurrency_limit"]["limit"], limit["collision_strategy"]) == (
        1,
        "CANCEL_NEW",
    )


def test_a_schedule_that_is_made_on_the_page_starts_a_night_by_itself(up):
    soon = (datetime.now(ZONE) + timedelta(seconds=15)).isoformat()
    made = add_schedule(up, NIGHTLY, {"interval": 60, "anchor_date": soon, "timezone": ZONE.key})
    try:
        run_id = up.until_runs(NIGHTLY, "RUNNING", "PENDING", *ENDED)[0]["id"]
    finally:
        up.api(made, method="DELETE")
    run = up.until(run_id, *ENDED, seconds=500)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["created_by"]["type"] == "SCHEDULE"
    (night,) = read_history(Store(up.store), "nights").nights
    assert night.night == run_id
    hours = {due(run).hour for run in up.until_runs(NIGHTLY, "SCHEDULED")}  # the scheduler sets them again in a minute
    assert hours == {int(NIGHTS["nightly"]["cron"].split()[1])}, "runs of a deleted schedule are left"


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path, "nightly={cron: '* * * * *'}")
    append(found.rows / "1.jsonl", [row(i, why="label: warm", split="pretrain") for i in range(1000, 1064)])
    append(found.rows / "2.jsonl", map(row, range(50)))
    return found


@pytest.fixture
def start(tmp_path):
    """Starts `hasse up` over the same folder, as often as wanted."""
    started = []

    def start_up(**environment):
        started.append(Up(tmp_path, tmp_path, "--recipe", str(tmp_path / "colours.yaml"), **environment))
        return started[-1]

    yield start_up
    for up in started:
        up.stop()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it starts servers, which takes minutes on a busy machine
def test_the_schedule_follows_the_recipe(start, place, tmp_path):
    nightly = "nightly/colours"
    up = start().wait(deployments=4)
    run_id = up.until_runs(nightly, "RUNNING", *ENDED)[0]["id"]
    run = up.until(run_id, *ENDED)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert read_history(place.store, "colours").nights[0].night == run_id
    add_schedule(up, nightly, WEEKLY)
    up.stop()

    Place(tmp_path, "nightly={cron: 30 3 * * *, timezone: Europe/Berlin}")
    up = start().wait(deployments=4)
    up.says(f"Next runs of {nightly}")
    assert schedules(up, nightly) == {
        ("30 3 * * *", "Europe/Berlin", "recipe"),
        ("15 5 * * 0", "America/New_York", None),
    }
    runs = up.runs(nightly, "SCHEDULED")
    for run in runs:
        night, week = due(run), due(run, ZoneInfo("America/New_York"))
        assert (night.hour, night.minute) == (3, 30) or (week.weekday(), week.hour, week.minute) == (6, 5, 15)
    assert sum(due(run).hour == 3 for run in runs) >= 3
    up.stop(signal.SIGKILL)  # so that nothing is put in order

    Place(tmp_path, "nightly={cron: null}")
    up = start().wait(deployments=4)
    end = time.monotonic() + 120
    while len(schedules(up, nightly)) > 1:
        assert time.monotonic() < end, "the recipe's schedule is left"
        time.sleep(0.5)
    assert schedules(up, nightly) == {("15 5 * * 0", "America/New_York", None)}
    up.stop(signal.SIGKILL)

    values = {name: value for name, value in place.values.items() if name != "nightly"}
    (tmp_path / "colours.yaml").write_text(yaml.safe_dump(values))
    up = start().wait(deployments=4)
    up.says(f"{nightly} is paused")
    assert up.deployment(nightly)["paused"]
    assert up.runs(nightly, "SCHEDULED") == []


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it starts servers, which takes minutes on a busy machine
def test_a_scheduler_that_fails_is_said_and_so_is_its_recovery(start, place, tmp_path):
    Place(tmp_path, "nightly={cron: 30 3 * * *}")
    up = start()
    up.says("UI:", seconds=400)
    with sqlite3.connect(tmp_path / "home" / "prefect.db", timeout=60) as database:
        database.execute(
            "create trigger broken before insert on flow_run when new.auto_scheduled "
            "begin select raise(abort, 'broken by the test'); end"
        )
    up.says(
        "its scheduler fails, so no night may start by itself", "broken by the test", str(tmp_path / "home/server.log")
    )
    up.says("nightly/colours has a schedule (`30 3 * * *` UTC) and the server has scheduled no run")
    with sqlite3.connect(tmp_path / "home" / "prefect.db", timeout=60) as database:
        database.execute("drop trigger broken")
    up.says("No longer so: nightly/colours has a schedule", "Next runs of nightly/colours")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it starts servers, which takes minutes on a busy machine
def test_a_scheduler_that_does_not_run_at_all_is_said(start, place, tmp_path):
    up = start(PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED="false")
    up.says("nightly/colours has a schedule (`* * * * *` UTC) and the server has scheduled no run", seconds=500)
    assert "reports an error" not in up.printed()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it starts servers, which takes minutes on a busy machine
def test_a_server_that_hangs_and_one_that_dies_are_said(start, place):
    up = start().wait(deployments=4)
    server = next(pid for pid, line in up.marked().items() if "prefect server start" in line)
    os.kill(server, signal.SIGSTOP)
    up.says("The Prefect server has not answered for ")
    os.kill(server, signal.SIGCONT)
    up.says("The Prefect server answers again.")
    os.kill(server, signal.SIGKILL)
    up.says("the Prefect server ended by signal 9 (SIGKILL)", "server.log")
    assert up.process.wait(timeout=90) == 1


def test_a_port_that_is_taken_is_refused_at_once(up, tmp_path):
    second = Up(tmp_path, tmp_path, port=up.port)
    second.says(f"--port {up.port} of 127.0.0.1 cannot be used")
    assert second.process.wait(timeout=60) == 2
