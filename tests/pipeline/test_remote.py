"""A store in a bucket, against a real server on loopback; a machine is a cache folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from hasse.data.errors import CorruptFile, InputError, StoreError
from hasse.data.records import CurvePoint, Judgement
from hasse.data.settings import Config
from hasse.flows.nightly.night import AlreadyRunning, alone
from hasse.flows.run.history import read_history, write_history
from hasse.pipeline import run as running
from hasse.pipeline.remote import store as remote
from hasse.pipeline.remote.conditional import ConditionalObjects, Conflict
from hasse.pipeline.remote.lease import Leased, lease
from hasse.pipeline.remote.objects import Objects
from hasse.pipeline.remote.store import open_store
from hasse.pipeline.row_chunks import Unit
from hasse.pipeline.rows import map_rows
from hasse.pipeline.sealed import seal
from hasse.pipeline.stage import Job, Stage, Step, fingerprint
from hasse.pipeline.store import Store

ROOT = Path(__file__).parents[2]


class Settings(Config):
    value: int = 1
    units: tuple[str, ...] = ()
    stop_at: str | None = None


CALLS: list[object] = []


def _numbers(job: Job) -> None:
    """Not the same twice, as training may be."""
    CALLS.append(job.settings.value)
    job.write([CurvePoint(step=len(CALLS), metric="loss", value=float(job.settings.value))], CurvePoint)
    (job.path / "model").mkdir()
    (job.path / "model" / "config.json").write_text("{}")
    (job.path / "model" / "model.safetensors").write_bytes(bytes(job.settings.value) * 100)


def _rows(job: Job) -> None:
    def judge(part: list[str]):
        for unit in part:
            if unit == job.settings.stop_at:
                raise KeyboardInterrupt
            CALLS.append(unit)
            yield [Judgement(prompt_id=unit, candidate_id="c", teacher="rule")]

    units = [Unit(f"key of {unit}", unit) for unit in job.settings.units]
    written = map_rows(job, units, judge, Judgement, total=len(units), chunk_size=2)
    job.count(Judgement, written.counts)
    job.metrics |= written.metrics


NUMBERS = Stage(
    name="numbers",
    run=_numbers,
)
ROWS = Stage(
    name="judge",
    run=_rows,
)


def step(stage: Stage, **settings) -> Step:
    return Step(name=stage.name, stage=stage, settings=Settings(**settings))


class Machine:
    """Works at the store with a cache folder that no other machine sees."""

    def __init__(self, uri: str, cache: Path, monkeypatch: pytest.MonkeyPatch):
        self.uri, self.cache, self.monkeypatch = uri, cache, monkeypatch

    @property
    def store(self) -> Store:
        self.monkeypatch.setenv("HASSE_CACHE", str(self.cache))
        return open_store(self.uri)

    def perform(self, stage: Stage = NUMBERS, *, refresh: bool = False, **settings) -> running.Done:
        return running.perform(
            self.store, step(stage, **settings), {}, progress=lambda done, total: None, refresh=refresh
        )

    def files(self) -> set[str]:
        return {path.name for path in self.cache.rglob("*") if path.is_file()}


@pytest.fixture
def bucket(s3, monkeypatch):
    CALLS.clear()
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    name = f"b-{uuid.uuid4().hex}"
    s3.client.create_bucket(Bucket=name)
    s3.requests.seen.clear()
    return name


@pytest.fixture
def machine(bucket, tmp_path, monkeypatch):
    """Makes machines that see the same store."""
    return lambda name: Machine(f"s3://{bucket}/some/where", tmp_path / name, monkeypatch)


def loss(artifact) -> float:
    (point,) = artifact.records(CurvePoint)
    return point.value


def attempt(artifact) -> int:
    (point,) = artifact.records(CurvePoint)
    return point.step


def name_of(s3, bucket, end: str) -> str:
    (name,) = [name for name in s3.names(bucket) if name.endswith(end)]
    return name


def test_another_machine_finds_what_one_has_computed(machine):
    here, there = machine("a").perform(value=7), machine("b").perform(value=7)
    assert (here.cached, there.cached) == (False, True)
    assert here.artifact.ref == there.artifact.ref
    assert CALLS == [7]
    assert loss(there.artifact) == 7.0
    assert there.artifact.problems(full=True) == []


def test_a_file_is_brought_when_it_is_read_and_once(machine, s3):
    machine("a").perform()
    other = machine("b")
    artifact = other.perform().artifact
    assert other.files() <= {"manifest.json", artifact.ref.replace("/", "-")}
    s3.requests.seen.clear()
    for _ in range(2):
        loss(artifact)
        loss(other.perform().artifact)
    assert sum(name.endswith(".parquet") for name in s3.requests.of("GET")) == 1
    assert "model.safetensors" not in other.files()
    assert (artifact.file("model") / "model.safetensors").read_bytes() == bytes(100)
    assert (artifact.file("model") / "config.json").read_text() == "{}"


def test_the_machine_that_publishes_brings_nothing(machine, s3):
    artifact = machine("a").perform().artifact
    assert loss(artifact) == 1.0
    assert (machine("a").perform().artifact.file("model") / "config.json").exists()
    assert not [name for name in s3.requests.of("GET") if name.endswith((".parquet", ".json")) and "/model/" in name]


@pytest.mark.parametrize("end", ["curve_point.parquet", "model/model.safetensors"])
@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_what_is_missing_in_the_bucket_is_made_anew_elsewhere_and_sent_again_here(machine, s3, bucket, end, damage):
    owner, other = machine("a"), machine("b")
    ref = owner.perform().artifact.ref
    name = name_of(s3, bucket, end)
    content = s3.content(bucket, name)
    for worker in (owner, other):
        CALLS.clear()
        if damage == "delete":
            s3.client.delete_object(Bucket=bucket, Key=name)
        else:
            s3.client.put_object(Bucket=bucket, Key=name, Body=content[:-1])
        (problem,) = worker.store.artifact(ref).problems()
        assert problem.startswith(end)
        done = worker.perform()
        assert ([] if worker is owner else [1]) == CALLS
        assert done.artifact.problems(full=True) == []
        assert done.cached == (worker is owner)


def test_a_changed_object_is_never_served_and_the_next_run_makes_it_anew(machine, s3, bucket):
    machine("a").perform()
    name = name_of(s3, bucket, "curve_point.parquet")
    content = s3.content(bucket, name)
    s3.client.put_object(Bucket=bucket, Key=name, Body=content[:60] + bytes([content[60] ^ 1]) + content[61:])
    other = machine("b")
    artifact = other.perform().artifact
    assert artifact.problems() == []
    assert artifact.problems(full=True) == ["curve_point.parquet differs from its digest"]
    with pytest.raises(CorruptFile, match=r"curve_point\.parquet .* differs .* run the same command again"):
        loss(artifact)
    assert "curve_point.parquet" not in other.files()
    assert not other.perform().cached
    assert loss(machine("c").perform().artifact) == 1.0
    assert name not in s3.names(bucket)


def test_a_manifest_that_cannot_be_read_is_replaced(machine, s3, bucket):
    machine("a").perform()
    name = name_of(s3, bucket, "manifest.json")
    s3.client.put_object(Bucket=bucket, Key=name, Body=b"{")
    other = machine("b")
    (problem,) = other.store.artifacts()[0].problems()
    assert "is not a manifest" in problem
    assert not other.perform().cached
    assert machine("c").perform().cached


@pytest.mark.parametrize("name", ["../../../evil.json", "/tmp/evil.json", "model/pytorch_model.bin"])
def test_a_manifest_of_somebody_else_cannot_write_elsewhere_or_bring_a_pickle(machine, s3, bucket, name):
    machine("a").perform()
    key = name_of(s3, bucket, "manifest.json")
    manifest = json.loads(s3.content(bucket, key))
    manifest["files"][name] = manifest["files"].pop("model/config.json")
    del manifest["digest"]
    s3.client.put_object(Bucket=bucket, Key=key, Body=seal(manifest).encode())
    other = machine("b")
    artifact = other.store.artifacts()[0]
    for part in (name, name.rpartition("/")[0]):
        with pytest.raises(CorruptFile, match="that no artifact may have"):
            artifact.file(part)
    assert "differs" not in artifact.problems()[0]
    assert not other.perform().cached


def test_what_a_machine_holds_stays_when_another_publishes_anew(machine):
    here = machine("a").perform().artifact
    there = machine("b").perform(refresh=True).artifact
    assert here.ref == there.ref
    assert (attempt(here), attempt(there), attempt(machine("a").perform().artifact)) == (1, 2, 2)
    assert (attempt(here), attempt(machine("c").perform().artifact)) == (1, 2)


def test_rows_go_on_at_another_machine(machine):
    with pytest.raises(KeyboardInterrupt):
        machine("a").perform(ROWS, units=tuple("abcdefgh"), stop_at="f")
    assert list("abcde") == CALLS
    CALLS.clear()
    artifact = machine("b").perform(ROWS, units=tuple("abcdefgh")).artifact
    assert list("efgh") == CALLS
    assert [row.prompt_id for row in artifact.records(Judgement)] == list("abcdefgh")
    CALLS.clear()
    machine("a").perform(ROWS, units=tuple("abcdefghi"))
    assert CALLS == ["i"]


def test_a_chunk_whose_upload_failed_goes_with_the_next_run(machine, s3, bucket):
    machine("a").perform(ROWS, units=tuple("abcd"))
    (lost, *_) = [name for name in s3.names(bucket) if "/rows/" in name]
    s3.client.delete_object(Bucket=bucket, Key=lost)
    machine("a").perform(ROWS, units=tuple("abcde"))
    CALLS.clear()
    machine("b").perform(ROWS, units=tuple("abcdef"))
    assert CALLS == ["f"]


def test_a_chunk_that_cannot_be_read_is_computed_again(machine, s3, bucket):
    machine("a").perform(ROWS, units=tuple("ab"))
    (chunk,) = [name for name in s3.names(bucket) if "/rows/" in name]
    s3.client.put_object(Bucket=bucket, Key=chunk, Body=s3.content(bucket, chunk)[:-20])
    CALLS.clear()
    artifact = machine("b").perform(ROWS, units=tuple("abc")).artifact
    assert list("abc") == CALLS
    assert [row.prompt_id for row in artifact.records(Judgement)] == list("abc")


def test_a_shared_file_follows_who_wrote_last(machine):
    here, there = machine("a").store, machine("b").store
    for store in (here, there):
        (store.root / "runs").mkdir(parents=True)
    file = here.root / "runs" / "one.json"
    file.write_text("begun")
    here.share(file)
    there.gather(there.root / "runs", "*.json")
    assert (there.root / "runs" / "one.json").read_text() == "begun"
    time.sleep(1.1)  # the server's clock has whole seconds
    file.write_text("ended")
    here.share(file)
    here.gather(here.root / "runs", "*.json")
    there.gather(there.root / "runs", "*.json")
    assert (file.read_text(), (there.root / "runs" / "one.json").read_text()) == ("ended", "ended")


def test_refs_come_oldest_first_and_resolve(machine):
    worker = machine("a")
    values = sorted((1, 2, 3), key=lambda value: fingerprint(step(NUMBERS, value=value).key({})), reverse=True)
    refs = []
    for value in values:
        refs.append(worker.perform(value=value).artifact.ref)
        time.sleep(1.1)
    assert refs != sorted(refs)
    store = machine("b").store
    assert store.refs() == refs
    assert store.resolve("numbers").ref == refs[-1]
    assert store.resolve(refs[0][:-3]).location == f"{worker.uri}/{refs[0]}"
    with pytest.raises(InputError, match=rf"no artifact 'letters' in {worker.uri}; .* numbers"):
        store.resolve("letters")


def test_delete_takes_it_from_the_bucket_and_from_here(machine, s3, bucket):
    worker = machine("a")
    gone, kept = worker.perform(value=1).artifact, worker.perform(value=2).artifact
    rows = worker.perform(ROWS, units=("a",)).artifact
    (folder,) = worker.store.rows()
    assert worker.store.num_bytes(gone.ref) > 100
    assert worker.store.num_bytes(folder) > 100
    worker.store.delete(gone.ref)
    worker.store.delete(folder)
    assert set(worker.store.refs()) == {kept.ref, rows.ref}
    assert not [name for name in s3.names(bucket) if gone.ref in name or "/rows/" in name]
    assert not gone.path.exists()
    assert not worker.perform(value=1).cached
    assert loss(machine("b").perform(value=2).artifact) == 2.0


def test_stopped_uploads_and_stale_copies_are_abandoned(machine, s3, bucket, monkeypatch):
    worker = machine("a")
    artifact = worker.perform().artifact
    s3.client.put_object(Bucket=bucket, Key="some/where/train/0123/abcd/model/x.safetensors", Body=b"half")
    assert worker.store.abandoned() == []
    monkeypatch.setattr(remote, "ABANDONED_SECONDS", -60)
    assert worker.store.abandoned() == ["train/0123"]
    machine("b").store.delete(artifact.ref)
    assert worker.store.abandoned() == sorted(["train/0123", artifact.path.relative_to(worker.store.root).as_posix()])
    for name in worker.store.abandoned():
        worker.store.delete(name)
    assert worker.store.abandoned() == []
    assert not artifact.path.exists()


PUBLISH = """
import os, random, signal, sys, time
from pathlib import Path
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.manifest import Manifest
from hasse.pipeline.remote.objects import Objects
from hasse.pipeline.remote.store import open_store
from hasse.pipeline.store import describe_files

def publish(store, number, who, size):
    key = {"number": number}
    fingerprint = digest(key)[:24]
    work = store.work_folder("numbers", fingerprint)
    work.mkdir(parents=True)
    (work / "shared.json").write_text("the same")
    for name in ("a.json", "b.json", "c.json"):
        (work / name).write_bytes(f"{who} {number} ".encode() * size)
    files = describe_files(work)
    store.publish(work, Manifest(stage="numbers", fingerprint=fingerprint, name=who, key=key, identity={}, files=files))
"""

RACE = """
uri, who, rounds, place = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
store = open_store(uri)
for number in range(rounds):
    (place / f"{who}-{number}").touch()
    while len(list(place.glob(f"*-{number}"))) < 2:
        time.sleep(0.001)
    publish(store, number, who, random.randint(1, 2000))
"""

KILLED = """
uri, after, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
put, done = Objects.put, []

def put_or_die(self, name, path):
    if len(done) == after:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, name, path)
    done.append(name)

Objects.put = put_or_die
from hasse.pipeline.remote import artifact as remote_artifact
remote_artifact.TRANSFERS = 1
publish(open_store(uri), 0, "killed", size)
"""


def start(machine: Machine, program: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", PUBLISH + program, machine.uri, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HASSE_CACHE": str(machine.cache)})


def test_two_processes_that_publish_at_once_leave_one_whole_artifact(machine, tmp_path):
    """Under the same names, with different contents, many times."""
    rounds = 25
    (tmp_path / "place").mkdir()
    writers = [start(machine(who), RACE, who, rounds, tmp_path / "place") for who in ("a", "b")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    found = machine("c").store.artifacts()
    assert len(found) == rounds
    for artifact in found:
        assert artifact.problems(full=True) == []
        who = artifact.manifest.name
        texts = {artifact.file(name).read_text() for name in ("a.json", "b.json", "c.json")}
        assert len(texts) == 1
        assert texts.pop().startswith(f"{who} ")
        assert artifact.file("shared.json").read_text() == "the same"


@pytest.mark.parametrize("after", range(5))
def test_a_killed_upload_leaves_no_artifact_and_goes_on_where_it_was(machine, after):
    """Four files and then the manifest; `after` so many objects the process is killed."""
    killed, other = machine("a"), machine("b")
    assert start(killed, KILLED, after, 10).wait(60) == -signal.SIGKILL
    assert other.store.refs() == []
    key = next(killed.cache.glob("*/.artifacts/*/numbers/*")).name
    assert other.store.find("numbers", key) is None
    assert killed.store.find("numbers", key).manifest.name == "killed"
    assert other.store.find("numbers", key).problems(full=True) == []


def test_a_process_killed_in_the_middle_of_a_file_leaves_no_part_of_it(machine, s3, bucket):
    s3.requests.text = "partNumber=1"
    s3.requests.awaited.clear()
    process = start(machine("a"), KILLED, 99, 4_000_000)
    assert s3.requests.awaited.wait(60)
    process.kill()
    process.wait(60)
    s3.requests.text = ""
    assert machine("b").store.refs() == []
    sizes = {name: len(s3.content(bucket, name)) for name in s3.names(bucket)}
    assert all(size in (8, len("killed 0 ") * 4_000_000) for size in sizes.values()), sizes
    key = next(machine("a").cache.glob("*/.artifacts/*/numbers/*")).name
    assert machine("a").store.find("numbers", key).problems(full=True) == []


def test_passing_errors_of_the_server_are_outlasted(machine, s3, monkeypatch):
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    with s3.unreliable(every=6) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert not machine("a").perform(value=5).cached
        assert loss(machine("b").perform(value=5).artifact) == 5.0
        assert proxy.num_failures >= 2


def test_a_missing_bucket_is_named(machine, bucket, s3):
    with pytest.raises(InputError, match=rf"no bucket 'nothing-here' at {s3.endpoint}; make it, or give another"):
        open_store("s3://nothing-here/prefix")


def test_refused_credentials_are_named(machine, s3):
    worker = machine("a")
    store = worker.store
    with s3.refusing():
        with pytest.raises(InputError, match=r"refuses access to s3://.*AWS_ACCESS_KEY_ID"):
            open_store(worker.uri)
        with pytest.raises(InputError, match="refuses access"):
            store.check_writable()
    store.check_writable()


def test_an_endpoint_that_does_not_answer_is_named(machine, monkeypatch):
    worker = machine("a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"no answer from http://127\.0\.0\.1:1, .* AWS_ENDPOINT_URL"):
        _ = worker.store


def test_the_uri_may_name_the_endpoint(bucket, s3, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("HASSE_CACHE", str(tmp_path))
    host = s3.endpoint.removeprefix("http://")
    worker = Machine(f"s3://{bucket}/x/?endpoint_override={host}&scheme=http&region=eu-west-1", tmp_path, monkeypatch)
    artifact, store = worker.perform().artifact, worker.store
    assert artifact.location == f"s3://{bucket}/x/{artifact.ref}"
    assert store.refs() == [artifact.ref]
    assert all(name.startswith(f"x/{artifact.ref}/") for name in s3.names(bucket))
    assert open_store(store.location).root == store.root


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://key:secret@bucket/x", "must not hold credentials"),
        ("s3://bucket?endpoint=x", "unknown parameter 'endpoint'; did you mean 'endpoint_override'"),
        ("s3://", "names no bucket"),
        ("ftp://host/x", "cannot be opened .* s3://bucket/prefix"),
        ("s3:/bucket/x", "is no URI; write it as s3://bucket/x"),
    ],
)
def test_a_uri_that_cannot_be_used_is_an_error(uri, message):
    with pytest.raises(InputError, match=message) as found:
        open_store(uri)
    assert "secret" not in str(found.value)


def test_attempts_must_be_a_number(bucket, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(InputError, match="AWS_MAX_ATTEMPTS is 'many'"):
        open_store(f"s3://{bucket}")


def test_a_file_uri_is_the_folder(tmp_path):
    store = open_store(f"file://{tmp_path}/a%20b")
    assert type(store) is Store
    assert store.root == tmp_path / "a b"


def test_endpoints_and_prefixes_have_caches_of_their_own(bucket, s3, monkeypatch, tmp_path):
    monkeypatch.setenv("HASSE_CACHE", str(tmp_path))
    roots = [open_store(f"s3://{bucket}/{prefix}").root for prefix in ("a", "b", "a/")]
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint.replace("127.0.0.1", "localhost"))
    roots.append(open_store(f"s3://{bucket}/a").root)
    assert roots[0] == roots[2]
    assert len(set(roots)) == 3
    assert all(root.parent == tmp_path for root in roots)


def test_of_two_that_read_the_same_version_one_may_write(machine):
    here, there = machine("a").store, machine("b").store
    paths = [store.root / "latest" / "tiny.json" for store in (here, there)]
    assert [store.refresh(path) for store, path in zip((here, there), paths, strict=True)] == [None, None]
    here.replace(paths[0], "first", None)
    with pytest.raises(Conflict, match=r"latest/tiny\.json was written by another process"):
        there.replace(paths[1], "lost", None)
    version = there.refresh(paths[1])
    assert paths[1].read_text() == "first"
    there.replace(paths[1], "other", version)  # as long as the first, within the same second
    with pytest.raises(Conflict):
        here.replace(paths[0], "lost too", version)
    here.refresh(paths[0])
    assert paths[0].read_text() == "other"


def test_a_write_that_came_through_before_its_answer_was_lost_is_no_conflict(machine):
    store = machine("a").store
    path = store.root / "latest" / "tiny.json"
    store.replace(path, "once", None)
    store.replace(path, "once", None)
    assert path.read_text() == "once"


def test_a_lease_is_held_by_one_machine_until_it_ends_or_expires(machine):
    here, there = (ConditionalObjects(machine(name).store.objects) for name in "ab")
    with lease(here, "l", seconds=3):
        with pytest.raises(Leased, match=rf"process {os.getpid()} on .* whose lease ends in"), lease(there, "l"):
            pass
        time.sleep(4)  # it is renewed
        with pytest.raises(Leased), lease(there, "l"):
            pass
    with lease(there, "l"):
        pass
    here.write("dead", b'{"holder": "who died", "until": 1.0}', None)
    with lease(there, "dead"):
        pass


def test_a_store_that_cannot_write_under_a_condition_has_no_lease(tmp_path):
    objects = Objects((tmp_path / "x").as_uri())
    with pytest.raises(InputError, match="only s3:// offers"), lease(ConditionalObjects(objects), "l"):
        pass


def test_of_two_nights_on_two_machines_one_runs_and_no_promotion_is_lost(machine):
    here, there = machine("a").store, machine("b").store
    with alone(here, "tiny"):
        with pytest.raises(AlreadyRunning, match="a night of tiny is running already"), alone(there, "tiny"):
            pass
        first, second = read_history(here, "tiny"), read_history(there, "tiny")
        write_history(here, replace(first, terms={"by": "here"}))
    with alone(there, "tiny"), pytest.raises(Conflict):
        write_history(there, replace(second, terms={"by": "there"}))
    assert read_history(there, "tiny").terms == {"by": "here"}
