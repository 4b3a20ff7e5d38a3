"""Machines that meet in a folder; beats are shortened."""

import json
import threading
import time

import pytest

from hasse.data.errors import InputError, WorkError
from hasse.pipeline.store import Store
from hasse.stages.train.distributed import machines as launch_meeting
from hasse.stages.train.distributed.machines import Heard, Meeting, beating
from hasse.stages.train.distributed.settings import LaunchSettings


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(launch_meeting, "BEAT_SECONDS", 0.02)


@pytest.fixture
def meeting(tmp_path):
    return Meeting.of(Store(tmp_path), LaunchSettings(machines=2, main_address="localhost", main_port=4000))


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_begins_when_all_are_there_and_its_tasks_are_seen(meeting):
    said, seen = [], []

    def other():
        main = Heard(meeting.folder, 0)
        with beating(meeting.folder, 1):
            until(lambda: meeting.task() is not None)
            seen.append((main.status(), meeting.task()[1]))
            until(lambda: meeting.task() is None)
            until(lambda: main.status() == "done")

    thread = threading.Thread(target=other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch_meeting, "PATIENCE_SECONDS", 30)
        timer = threading.Timer(0.2, thread.start)
        timer.start()
        with meeting.hosted(said.append):
            meeting.check_hosted()
            with meeting.announced(meeting.root / "train" / "spec.json") as others:
                until(lambda: seen)
                for machine in others:
                    machine.check()
    thread.join(30)
    assert not thread.is_alive()
    assert said == ["waiting for machine 1"]
    assert seen == [("running", meeting.root / "train" / "spec.json")]


def test_a_machine_that_does_not_come_is_named(meeting, monkeypatch):
    monkeypatch.setattr(launch_meeting, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(WorkError, match="machine 1 has not come; start `hasse launch`"), meeting.hosted(print):
        raise AssertionError("the run began")


def test_what_an_earlier_run_left_does_not_count(meeting):
    meeting.folder.mkdir(parents=True)
    (meeting.folder / "machine-0.json").write_text(json.dumps({"beat": 5, "status": "running"}))
    assert Heard(meeting.folder, 0).status() == "absent"
    with pytest.raises(InputError, match="machines: 2; start `hasse launch` with this recipe on each machine"):
        meeting.check_hosted()


def test_a_machine_that_falls_silent_or_leaves_is_noticed(meeting, monkeypatch):
    monkeypatch.setattr(launch_meeting, "SILENCE_SECONDS", 0.2)
    with beating(meeting.folder, 1):
        other = Heard(meeting.folder, 1)
        assert other.comes(10)
        other.check()
    with pytest.raises(WorkError, match=r"machine 1 has left the run \(done\)"):
        other.check()
    (meeting.folder / "machine-1.json").write_text(json.dumps({"beat": 0, "status": "running"}))
    other.check()
    time.sleep(0.3)
    with pytest.raises(WorkError, match="machine 1 gave no sign of life"):
        other.check()


def test_a_run_that_fails_says_so(meeting):
    main = Heard(meeting.folder, 0)
    with pytest.raises(KeyError), beating(meeting.folder, 0):
        raise KeyError
    assert main.status() == "failed"


def test_one_machine_tells_nobody(tmp_path):
    meeting = Meeting.of(Store(tmp_path), LaunchSettings())
    with meeting.hosted(print), meeting.announced(tmp_path / "spec.json") as others:
        meeting.check_hosted()
    assert others == []
    assert list(tmp_path.iterdir()) == []
