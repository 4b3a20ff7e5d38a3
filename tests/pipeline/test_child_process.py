import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hasse.data.errors import ChildDied, InputError
from hasse.pipeline import child_process as process
from hasse.pipeline.child_process import run_in_child


@pytest.fixture(autouse=True)
def no_heavy_preload(monkeypatch):
    monkeypatch.setattr(process, "PRELOAD", [])


def double(x, send):
    send(("half way", x))
    return 2 * x


def refuse(send):
    raise InputError("row 3, field 'label': is missing")


def crash(send):
    raise ZeroDivisionError("a bug")


def kill_itself(send):
    os.kill(os.getpid(), signal.SIGKILL)


def start_grandchild(path, send):
    child = subprocess.Popen(["sleep", "300"])
    Path(path).write_text(f"{child.pid} {os.getpid()}")
    send("started")
    time.sleep(300)


def start_grandchild_and_talk(path, send):
    child = subprocess.Popen(["sleep", "300"])
    Path(path).write_text(f"{child.pid} {os.getpid()}")
    while True:
        send("busy")
        time.sleep(0.001)


def fall_silent(send):
    os.kill(os.getpid(), signal.SIGSTOP)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, seconds=10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_result_and_events_come_back():
    events = []
    assert run_in_child(double, 21, on_event=events.append) == 42
    assert events == [("half way", 21)]


def test_a_users_error_keeps_its_type_and_text():
    with pytest.raises(InputError, match="row 3, field 'label': is missing"):
        run_in_child(refuse, on_event=print)


def test_a_bug_comes_with_its_traceback():
    with pytest.raises(ChildDied, match="ZeroDivisionError: a bug"):
        run_in_child(crash, on_event=print)


def test_a_child_that_is_killed_is_named():
    with pytest.raises(ChildDied, match=r"SIGKILL \(out of memory"):
        run_in_child(kill_itself, on_event=print)


def test_a_silent_child_is_killed():
    with pytest.raises(ChildDied, match="no sign of life for 2 s"):
        run_in_child(fall_silent, on_event=print, silence_seconds=2)


def test_an_interrupt_kills_the_whole_group(tmp_path):
    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_child(start_grandchild, str(tmp_path / "pids"), on_event=interrupt)
    assert gone(map(int, (tmp_path / "pids").read_text().split()))


@pytest.mark.parametrize("work", [start_grandchild, start_grandchild_and_talk])
def test_a_killed_parent_takes_its_child_and_grandchild_along(tmp_path, work):
    script = f"""
        import sys
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(process.__file__).parents[2])]!r}
        import test_child_process
        from hasse.pipeline import child_process
        child_process.PRELOAD = []
        if __name__ == "__main__":
            child_process.run_in_child(test_child_process.{work.__name__}, {str(tmp_path / "pids")!r}, on_event=print)
    """
    (tmp_path / "parent.py").write_text(textwrap.dedent(script))
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(alive(pid) for pid in pids)
    parent.kill()
    parent.wait()
    assert gone(pids, seconds=20)
