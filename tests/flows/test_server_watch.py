"""What `hasse up` makes of the logs of the server and of what serves the flows."""

from hasse.flows.server import server_watch
from hasse.flows.server.server_watch import ServerWatch

FAILED = """\
13:59:30.544 | ERROR   | prefect.server.services.scheduler - Error scheduling deployment UUID('f8ce4819-8367-479c-ba7b-3acf0ac6e332').
Traceback (most recent call last):
  File "/x/prefect/types/_datetime.py", line 223, in _whenever_zdt_from_py
    return ZonedDateTime(dt)  # type: ignore[arg-type]
           ^^^^^^^^^^^^^^^^^
ValueError: tzinfo must be of type ZoneInfo (exactly), got Timezone('UTC')
"""  # noqa: E501  as Prefect wrote it
LEASES = """\
14:00:04.122 | ERROR   | docket.worker - ↩ [12ms] monitor_expired_leases{01a2}()
Traceback (most recent call last):
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: lease
[SQL: select 1]
"""
HARMLESS = (
    "14:00:05.000 | WARNING | prefect.server.events - slow\nConfigure Prefect to communicate with the server with:\n"
)


def watch(tmp_path, monkeypatch):
    monkeypatch.setattr(server_watch, "QUIET_SECONDS", -1.0)
    return ServerWatch("http://127.0.0.1:9", server=tmp_path / "server.log", flows=tmp_path / "serve.log")


def write(path, text):
    with path.open("a") as file:
        file.write(text)


def test_an_error_of_a_service_is_said_once_with_what_it_means_its_cause_and_the_log(tmp_path, monkeypatch):
    log = tmp_path / "server.log"
    write(log, FAILED)  # of an earlier server
    watched = watch(tmp_path, monkeypatch)
    assert list(watched.look()) == []
    write(log, HARMLESS + FAILED)
    (said,) = watched.look()
    assert "its scheduler fails, so no night may start by itself" in said
    assert "ValueError: tzinfo must be of type ZoneInfo (exactly)" in said
    assert f"See {log}" in said
    write(log, FAILED.replace("f8ce4819", "00000000"))
    assert list(watched.look()) == []
    write(log, LEASES)
    (said,) = watched.look()
    assert "the slot of a killed run may stay taken" in said
    assert "(sqlite3.OperationalError) no such table: lease" in said
    monkeypatch.setattr(server_watch, "REPEAT_SECONDS", 0.0)
    write(log, FAILED)
    (said,) = watched.look()
    assert "2 times since this was last said" in said


def test_a_record_that_is_written_in_pieces_is_read_whole(tmp_path, monkeypatch):
    watched = watch(tmp_path, monkeypatch)
    monkeypatch.setattr(server_watch, "QUIET_SECONDS", 1000.0)
    text = FAILED + HARMLESS
    said = []
    for start in range(0, len(text), 100):
        write(tmp_path / "server.log", text[start : start + 100])
        said += watched.look()
    assert len(said) == 1
    assert "Timezone('UTC')" in said[0]


def test_what_serves_the_flows_speaks_for_itself_about_schedules_and_its_runs_do_not(tmp_path, monkeypatch):
    watched = watch(tmp_path, monkeypatch)
    log = tmp_path / "serve.log"
    write(log, "14:22:53.667 | INFO    | hasse.schedules - Next runs of nightly/a: soon\n")
    write(log, "14:22:54.000 | ERROR   | Flow run 'tiny' - Finished in state Failed('x')\n")
    write(log, "14:22:55.000 | ERROR   | prefect.runner - cannot start a process\n")
    next_runs, runner = watched.look()
    assert next_runs == "Next runs of nightly/a: soon"
    assert "What serves the flows reports an error: cannot start a process" in runner
