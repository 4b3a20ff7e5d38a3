import json
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hasse.data.errors import InputError, StoreError
from hasse.data.records import CurvePoint
from hasse.data.settings import Config
from hasse.pipeline import run as running
from hasse.pipeline.disk import disk_errors
from hasse.pipeline.remote.store import open_store
from hasse.pipeline.stage import Job, Stage, Step
from hasse.pipeline.store import Store


class Settings(Config):
    value: int = 1
    fail: bool = False


ROOT = Path(__file__).parents[2]
CALLS: list[int] = []


def _run(job: Job) -> None:
    CALLS.append(job.settings.value)
    rows = [CurvePoint(step=i, metric="loss", value=float(job.settings.value)) for i in range(3)]
    job.write(rows, CurvePoint)
    if job.settings.fail:
        raise RuntimeError("on purpose")


STAGE = Stage(
    name="numbers",
    run=_run,
)


@pytest.fixture
def store(tmp_path):
    CALLS.clear()
    return Store(tmp_path / "store")


def perform(store, **settings):
    step = Step(name="numbers", stage=STAGE, settings=Settings(**settings))
    return running.perform(store, step, {}, progress=lambda done, total: None)


def performing(store, *arguments):
    command = [sys.executable, "-m", "tests.pipeline.performing", str(store.root), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_second_run_finds_the_artifact(store):
    first, second = perform(store), perform(store)
    assert (first.cached, second.cached) == (False, True)
    assert first.artifact.ref == second.artifact.ref
    assert CALLS == [1]
    assert [row.value for row in second.artifact.records(CurvePoint)] == [1.0, 1.0, 1.0]


def test_another_setting_makes_another_artifact(store):
    assert perform(store, value=1).artifact.ref != perform(store, value=2).artifact.ref
    assert CALLS == [1, 2]


def test_a_failed_stage_leaves_no_artifact(store):
    with pytest.raises(RuntimeError, match="on purpose"):
        perform(store, fail=True)
    assert store.artifacts() == []


def test_a_killed_stage_leaves_no_artifact(store):
    process = performing(store, "die")
    assert process.wait() == 9, process.stderr.read()
    assert store.artifacts() == []
    assert not perform(store).cached


def _die_writing_the_manifest(store):
    os.fsync = lambda handle: os._exit(9)
    perform(store)


def test_a_manifest_that_was_being_written_at_a_kill_does_not_become_content(store):
    expected = perform(store).artifact
    identity = expected.manifest.identity
    store.delete(expected.ref)
    process = multiprocessing.get_context("fork").Process(target=_die_writing_the_manifest, args=(store,))
    process.start()
    process.join()
    assert process.exitcode == 9
    (work,) = store.root.glob("numbers/.work-*")
    assert len(list(work.iterdir())) == 2
    found = perform(store).artifact
    assert found.manifest.identity == identity
    assert set(found.manifest.files) == {"curve_point.parquet"}
    assert not list(found.path.glob(".*"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_a_damaged_file_is_noticed_and_rebuilt(store, damage):
    path = perform(store).artifact.path / "curve_point.parquet"
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[:50])
    elif damage == "flip":
        path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    else:
        path.unlink()
    (problem,) = store.artifacts()[0].problems()
    assert "curve_point.parquet" in problem
    assert not perform(store).cached
    assert path.read_bytes() == content
    assert store.artifacts()[0].problems(full=True) == []


def test_a_full_check_sees_what_time_stamps_hide(store):
    artifact = perform(store).artifact
    path = artifact.path / "curve_point.parquet"
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert artifact.problems(full=True)


def test_the_manifest_says_where_the_artifact_comes_from(store):
    manifest = perform(store, value=7).artifact.manifest
    assert manifest.counts == {"curve_point": {"ok": 3}}
    assert manifest.key["config"] == {"value": 7, "fail": False}
    assert set(manifest.key["code"]) == {"version", __name__}
    assert manifest.packages["pyarrow"]
    json.loads(manifest.to_json())


def test_references_may_be_shortened_but_not_ambiguous(store):
    a, b = perform(store, value=1).artifact, perform(store, value=2).artifact
    assert store.resolve(a.ref[:-4]).ref == a.ref
    assert store.resolve("numbers").ref == b.ref
    with pytest.raises(InputError, match="stages with artifacts: numbers"):
        store.resolve("letters/12")
    many = [perform(store, value=i).artifact.ref for i in range(17)]
    shared = next(ref[: len("numbers/") + 1] for ref in many if sum(r[:9] == ref[:9] for r in many) > 1)
    with pytest.raises(InputError, match=r"fits \d+ artifacts"):
        store.resolve(shared)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("s3:bucket/other", "s3://bucket/other"),
        ("S3:/bucket", "s3://bucket"),
        ("gs:bucket", "gs://bucket"),
        ("file:/tmp/x", "file:///tmp/x"),
        (r"\\host\share", "/mnt/share"),
        (r"C:\store", "/mnt/store"),
    ],
)
def test_a_folder_is_not_called_like_a_bucket_or_a_share(name, near, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(near)):
        open_store(name)
    assert open_store("./s3:bucket").root.name == "s3:bucket"
    assert open_store("a:b").root.name == "a:b"


def test_a_store_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written .* --store"):
        Store(tmp_path / "file" / "store").check_writable()


def test_a_full_disk_keeps_what_is_finished_and_says_so():
    """/dev/full refuses every write with the error of a full disk."""
    with pytest.raises(StoreError, match=r"No space left on device.*are kept"), disk_errors(Path("store")):
        Path("/dev/full").write_text("x")


def test_two_processes_build_an_artifact_once(store, tmp_path):
    log = tmp_path / "log"
    processes = [performing(store, "slow", str(log)) for _ in range(3)]
    assert [(process.wait(), process.stderr.read()) for process in processes] == [(0, "")] * 3
    assert log.read_text() == "x"
