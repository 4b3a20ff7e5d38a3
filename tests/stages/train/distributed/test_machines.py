"""Machines that meet in a folder; beats are shortened."""

import json
import threading
import time

import pytest

from hasse.data.errors import InputError, WorkError
from hasse.pipeline.store import Store
from hasse.stages.train.distributed import machines as launch_meeting
from hasse.stages.train.distributed.machines import MachineGroup, ObservedMachine, heartbeat
from hasse.stages.train.distributed.settings import LaunchSettings


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(launch_meeting, "BEAT_SECONDS", 0.02)


@pytest.fixture
def meeting(tmp_path):
    return MachineGroup.of(Store(tmp_path), LaunchSettings(machines=2, main_address="localhost", main_port=4000))


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_begins_when_all_are_there_and_its_tasks_are_seen(meeting):
    said, seen = [], []

    def other():
        main = ObservedMachine(meeting.folder, 0)
        with heartbeat(meeting.folder, 1):
            until(lambda: meeting.task() is not None)
            seen.append((main.status(), meeting.task()[1]))
            until(lambda: meeting.task() is None)
            until(lambda: main.status() == "done")

    thread = threading.Thread(target=other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch_meeting, "PATIENCE_SECONDS", 30)
        timer = threading.Timer(0.2, thread.start)
        timer.start()
        with meeting.waited_for(said.append):
            meeting.check_hasse_launch()
            with meeting.announcing(meeting.root / "train" / "spec.json") as others:
                until(lambda: seen)
                for machine in others:
                    machine.check()
    thread.join(30)
    assert not thread.is_alive()
    assert said == ["waiting for machine 1"]
    assert seen == [("running", meeting.root / "train" / "spec.json")]


def test_a_machine_that_does_not_come_is_named(meeting, monkeypatch):
    monkeypatch.setattr(launch_meeting, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(WorkError, match="machine 1 has not come; start `hasse launch`"), meeting.waited_for(print):
        raise AssertionError("the run began")


def test_what_an_earlier_run_left_does_not_count(meeting):
    meeting.folder.mkdir(parents=True)
    (meeting.folder / "machine-0.json").write_text(json.dumps({"beat": 5, "status": "running"}))
    assert ObservedMachine(meeting.folder, 0).status() == "absent"
    with pytest.raises(InputError, match="machines: 2; start `hasse launch` with this recipe on each machine"):
        meeting.check_hasse_launch()


def test_a_machine_that_falls_silent_or_leaves_is_noticed(meeting, monkeypatch):
    monkeypatch.setattr(launch_meeting, "SILENCE_SECONDS", 0.2)
    with heartbeat(meeting.folder, 1):
        other = ObservedMachine(meeting.folder, 1)
        assert other.wait_until_running(10)
        other.check()
    with pytest.raises(WorkError, match=r"machine 1 has left the run \(done\)"):
        other.check()
    (meeting.folder / "machine-1.json").write_text(json.dumps({"beat": 0, "status": "running"}))
    other.check()
    time.sleep(0.3)
    with pytest.raises(WorkError, match="machine 1 has had no heartbeat"):
        other.check()


def test_a_run_that_fails_says_so(meeting):
    main = ObservedMachine(meeting.folder, 0)
    with pytest.raises(KeyError), heartbeat(meeting.folder, 0):
        raise KeyError
    assert main.status() == "failed"


def test_one_machine_tells_nobody(tmp_path):
    meeting = MachineGroup.of(Store(tmp_path), LaunchSettings())
    with meeting.waited_for(print), meeting.announcing(tmp_path / "spec.json") as others:
        meeting.check_hasse_launch()
    assert others == []
    assert list(tmp_path.iterdir()) == []
