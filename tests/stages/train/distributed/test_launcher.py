"""Processes that accelerate starts: their errors come back, and none outlives the one that started them."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hasse.data.errors import ChildDied, InputError, WorkError
from hasse.data.record_file import MappedRecords
from hasse.data.records import CurvePoint, TrainingExample
from hasse.stages.train.distributed import launcher as launched
from hasse.stages.train.distributed.launcher import FOLDER, SPEC, read_result, run_processes, write_error, write_result
from hasse.stages.train.distributed.settings import LaunchSettings
from hasse.stages.train.methods import sft
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.passes import Plan
from hasse.stages.train.run_spec import RunSpec
from hasse.stages.train.settings import TrainSettings
from hasse.stages.train.trainer_folder import EXAMPLES, TRAINER


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def make_work(tiny_model, tiny_tokenizer, make_example, tmp_path):
    """A run of two processes on a student of two layers; `student` may lie elsewhere."""

    def make(*, steps, student=None):
        tiny_model.save_pretrained(tmp_path / "student")
        tiny_tokenizer.save_pretrained(tmp_path / "student")
        settings = TrainSettings(
            method=sft.Settings(),
            optimiser=OptimiserSettings(steps=steps, prompts_per_step=2),
            seed=0,
            launch=LaunchSettings(processes=2),
        )
        work = RunSpec(settings=settings, student=student or tmp_path / "student", path=tmp_path / "train" / "job")
        (work.trainer / FOLDER).mkdir(parents=True)
        examples = [make_example([1, 4 + i], [[5 + i, 2]], target=0, prompt_id=f"p{i}") for i in range(4)]
        MappedRecords.write(work.path / TRAINER / EXAMPLES, examples, TrainingExample)
        work.write(work.trainer / FOLDER / SPEC)
        return work

    return make


def processes_of(work) -> dict[str, int]:
    """Rank -> process id, of those that live."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            if (
                str(work.trainer / FOLDER / SPEC) in words
                and "hasse.stages.train.distributed.worker" in words
                and "launch" not in words
            ):
                environment = (folder / "environ").read_bytes().decode().split("\0")
                found[next(v for v in environment if v.startswith("RANK=")).removeprefix("RANK=")] = int(folder.name)
        except (OSError, StopIteration):
            continue
    return found


@pytest.mark.slow
def test_what_a_process_fails_of_comes_back(make_work, tmp_path):
    work = make_work(steps=2, student=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nowhere has no config\.json"):
        run_processes(work, work.trainer / FOLDER, 0, watch=[])
    assert processes_of(work) == {}


@pytest.mark.slow
def test_a_killed_process_is_named_with_its_last_words(make_work):
    work = make_work(steps=100_000)
    folder = work.trainer / FOLDER

    def kill():
        until((folder / launched.PROGRESS).exists)
        (folder / "rank-1.log").open("a").write("low on memory\n")
        os.kill(processes_of(work)["1"], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(ChildDied, match=r"process 1 was ended by SIGKILL \(out of memory\?\).*\n(.*\n)*low on memory"):
        run_processes(work, folder, 0, watch=[])
    assert processes_of(work) == {}


@pytest.mark.slow
def test_what_the_watch_raises_ends_all_processes(make_work):
    work = make_work(steps=100_000)
    folder = work.trainer / FOLDER

    def watch():
        if (folder / launched.PROGRESS).exists():
            raise WorkError("machine 1 gave no sign of life")

    with pytest.raises(WorkError, match="no sign of life"):
        run_processes(work, folder, 0, watch=[watch])
    until(lambda: not processes_of(work))


@pytest.mark.slow
def test_processes_die_with_the_one_that_started_them(make_work):
    work = make_work(steps=100_000)
    folder = work.trainer / FOLDER
    code = (
        "import sys; from pathlib import Path; from hasse.stages.train.distributed.launcher import run_processes; "
        "from hasse.stages.train.run_spec import RunSpec; folder = Path(sys.argv[1]); "
        "run_processes(RunSpec.read(folder / sys.argv[2], folder.parents[1]), folder, 0, watch=[])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder), SPEC], cwd=Path(launched.__file__).parents[4])
    until((folder / launched.PROGRESS).exists)
    assert processes_of(work).keys() == {"0", "1"}
    parent.kill()
    parent.wait()
    until(lambda: not processes_of(work))


def until(condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def cause(folder, log=""):
    (folder / "machine-0.log").write_text(log)
    return launched._cause(folder, folder / "machine-0.log")


def test_the_first_error_counts_and_ours_before_others(tmp_path):
    write_error(tmp_path, "1", ConnectionError("closed by peer"), "Traceback\nConnectionError: closed by peer")
    found = cause(tmp_path)
    assert type(found) is ChildDied
    assert str(found).startswith("training process 1 failed:\nTraceback\nConnectionError: closed by peer\n")
    assert "Another process may have failed first" in str(found)
    write_error(tmp_path, "0", WorkError("the loss of step 3 is nan"), "Traceback")
    assert str(cause(tmp_path)) == "the loss of step 3 is nan"
    assert type(cause(tmp_path)) is WorkError


def test_a_launcher_that_fails_is_quoted(tmp_path):
    assert "No module named accelerate" in str(cause(tmp_path, "python: No module named accelerate\n"))


def test_progress_hands_on_whole_lines_once(tmp_path):
    told = []
    progress = launched._Progress(tmp_path / "progress", lambda *step: told.append(step))
    progress()
    (tmp_path / "progress").write_text("[1, 4]\n[2, 4]\n[3")
    progress()
    assert told == [(1, 4), (2, 4)]
    (tmp_path / "progress").write_text("[1, 4]\n[2, 4]\n[3, 4]\n")
    progress()
    progress()
    assert told == [(1, 4), (2, 4), (3, 4)]


def test_the_curve_comes_back_exactly(tmp_path):
    points = [CurvePoint(step=1, metric="loss", value=0.1 + 0.2), CurvePoint(step=2, metric="loss", value=1e-17)]
    plan = Plan("shared", "it pays", "auto", 512, False, 1 << 30)
    write_result(tmp_path, points, plan)
    assert read_result(tmp_path) == (points, plan)


def test_a_spec_is_read_where_the_store_is_mounted_elsewhere(make_work, tmp_path):
    work, there = make_work(steps=1), tmp_path / "mounted"
    shutil.copytree(tmp_path / "train", there / "train")
    path = there / "train" / "job"
    expected = RunSpec(settings=work.settings, student=there / "student", path=path)
    assert RunSpec.read(path / TRAINER / FOLDER / SPEC, path) == expected
