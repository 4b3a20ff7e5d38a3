"""What is damaged is found, is never served, and is made anew by the next run."""

import json
import os
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from hasse.data.errors import CorruptFile, DamagedArtifact
from hasse.data.records import CurvePoint, Judgement
from hasse.data.settings import Config
from hasse.pipeline import files
from hasse.pipeline import run as running
from hasse.pipeline.manifest import Manifest
from hasse.pipeline.row_chunks import Unit, chunk_problem
from hasse.pipeline.rows import map_rows
from hasse.pipeline.sealed import read_sealed, seal
from hasse.pipeline.stage import Job, Stage, Step
from hasse.pipeline.store import MANIFEST, Store


class Settings(Config):
    value: int = 1
    units: tuple[str, ...] = ()


CALLS: list[str] = []


def _numbers(job: Job) -> None:
    job.write([CurvePoint(step=i, metric="loss", value=float(job.settings.value)) for i in range(3)], CurvePoint)
    job.metrics["final"] = 0.25


def _rows(job: Job) -> None:
    def judge(part):
        for unit in part:
            CALLS.append(unit)
            yield [Judgement(prompt_id=unit, candidate_id="c", teacher="rule", rationale=f"because of {unit} " * 30)]

    units = [Unit(f"key of {unit}", unit) for unit in job.settings.units]
    written = map_rows(job, units, judge, Judgement, total=len(units), chunk_size=3)
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


@pytest.fixture
def store(tmp_path):
    CALLS.clear()
    return Store(tmp_path / "store")


def perform(store, stage=NUMBERS, **settings):
    step = Step(name=stage.name, stage=stage, settings=Settings(**settings))
    return running.perform(store, step, {}, progress=lambda done, total: None)


def flip(path, position):
    content = path.read_bytes()
    path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])


def to_folder(path):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def to_loop(path):
    path.unlink()
    path.symlink_to(path)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "flip": lambda path: flip(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_text(""),
    "list": lambda path: path.write_text("[]"),
    "folder": to_folder,
    "loop": to_loop,
    "deep": lambda path: path.write_text("[" * 100_000),
    "latin": lambda path: path.write_bytes(b'{"stage": "\xe9"}'),
    "no files": lambda path: path.write_text('{"files": []}'),
    "number": lambda path: path.write_text(path.read_text().replace("0.25", "0.75")),
    "later": lambda path: path.write_text(path.read_text().replace('"format": 2', '"format": 3')),
}


@pytest.mark.parametrize("way", DAMAGE)
def test_a_damaged_manifest_is_shown_and_made_anew(store, way):
    artifact = perform(store).artifact
    before = artifact.manifest
    DAMAGE[way](artifact.path / MANIFEST)
    (found,) = store.artifacts()
    (problem,) = found.problems()
    assert str(artifact.path / MANIFEST) in problem
    with pytest.raises(CorruptFile, match="is not a manifest"):
        _ = found.manifest
    again = perform(store)
    assert not again.cached
    assert replace(again.artifact.manifest, created="", seconds=0) == replace(before, created="", seconds=0)
    assert perform(store).cached


def test_a_manifest_without_a_digest_is_served_while_its_form_folder_and_key_are_right(store):
    path = perform(store).artifact.path / MANIFEST
    old = json.loads(path.read_text())
    del old["digest"]
    path.write_text(json.dumps({**old, "format": 1}))
    assert perform(store).cached
    path.write_text(json.dumps({**old, "format": 1, "counts": []}))
    assert not perform(store).cached
    path.write_text(json.dumps(old))
    assert not perform(store).cached  # of its format a digest is due


def test_artifacts_whose_folders_were_swapped_are_not_served(store):
    one, two = (perform(store, value=value).artifact.path for value in (1, 2))
    shutil.move(one, one.parent / "beside")
    shutil.move(two, one)
    shutil.move(one.parent / "beside", two)
    assert [("was a folder moved" in artifact.problems()[0]) for artifact in store.artifacts()] == [True, True]
    for value in (1, 2):
        done = perform(store, value=value)
        assert not done.cached
        assert {row.value for row in done.artifact.records(CurvePoint)} == {float(value)}


def test_a_key_that_was_edited_and_sealed_again_is_not_served(store):
    path = perform(store).artifact.path / MANIFEST
    values = read_sealed(path, kind="manifest")
    values["key"]["config"]["value"] = 2
    path.write_text(seal(values))
    assert not perform(store).cached


def test_a_flip_that_keeps_size_and_time_is_found_by_the_look_up(store):
    path = perform(store).artifact.path / "curve_point.parquet"
    stat = path.stat()
    flip(path, 60)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not perform(store).cached


def test_a_flip_that_leaves_no_trace_is_found_by_who_reads(store, monkeypatch):
    artifact = perform(store).artifact
    path = artifact.path / "curve_point.parquet"
    flip(path, 60)
    files.write_stamps(artifact.path, artifact.manifest.files)
    assert perform(store).cached  # nothing has read the file
    with pytest.raises(DamagedArtifact, match=r"curve_point\.parquet differs from its digest"):
        list(artifact.records(CurvePoint))
    assert not perform(store).cached


def test_a_file_is_read_for_its_digest_once_a_process(store, monkeypatch):
    artifact = perform(store).artifact
    read = []
    monkeypatch.setattr(files, "_DIGESTS", {})
    monkeypatch.setattr(
        files,
        "file_digest",
        lambda path: read.append(path.name) or Manifest.read(artifact.path / MANIFEST).files[path.name].sha256,
    )
    for _ in range(3):
        list(artifact.records(CurvePoint))
    assert read == ["curve_point.parquet"]


def flip_content(path):
    columns = pq.ParquetFile(path).metadata.row_group(0)
    (column,) = (c for i in range(columns.num_columns) if (c := columns.column(i)).path_in_schema == "rationale")
    flip(path, (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 2)


@pytest.mark.parametrize("way", ["cut", "content", "empty", "list", "folder", "deep"])
@pytest.mark.parametrize("named", [True, False], ids=["by its name", "without a digest"])
def test_a_damaged_chunk_is_set_aside_and_its_rows_are_computed_again(store, way, named, caplog):
    perform(store, ROWS, units=tuple("abcdef"))
    chunk = sorted(store.root.glob("judge/rows/*/*.parquet"))[0]
    lost = pq.read_table(chunk, partitioning=None)["prompt_id"].to_pylist()
    if not named:
        chunk = chunk.rename(chunk.with_name(f"{chunk.name[:32]}.parquet"))
    {**DAMAGE, "content": flip_content}[way](chunk)
    CALLS.clear()
    artifact = perform(store, ROWS, units=tuple("abcdefg")).artifact
    assert [*lost, "g"] == sorted(CALLS)
    assert [row.rationale[:12] for row in artifact.records(Judgement)] == [f"because of {u}" for u in "abcdefg"]
    assert f"{chunk.name} is damaged" in caplog.text
    assert chunk.with_name(f"{chunk.name}.corrupt").exists()


@pytest.mark.parametrize("target", ["itself", "nothing", "folder"])
def test_a_link_in_the_place_of_a_chunk_is_named_and_its_rows_are_computed_again(store, target):
    perform(store, ROWS, units=("a", "b"))
    (chunk,) = store.root.glob("judge/rows/*/*.parquet")
    chunk.unlink()
    chunk.symlink_to({"itself": chunk, "nothing": chunk.with_name("gone"), "folder": store.root}[target])
    assert "file" in str(chunk_problem(chunk))
    CALLS.clear()
    perform(store, ROWS, units=("a", "b", "c"))
    assert sorted(CALLS) == ["a", "b", "c"]
    assert not chunk.is_symlink()


def test_a_chunk_that_was_written_over_by_another_good_one_is_found(store):
    perform(store, ROWS, units=tuple("abcdef"))
    one, two = sorted(store.root.glob("judge/rows/*/*.parquet"))
    shutil.copyfile(two, one)
    CALLS.clear()
    perform(store, ROWS, units=tuple("abcdefg"))
    assert len(CALLS) == 4


def test_a_pipe_in_the_place_of_a_lock_holds_nobody_up(tmp_path):
    path = tmp_path / "lock"
    os.mkfifo(path)
    assert not files.is_held(path)
    with files.locked(path):
        assert files.is_held(path)
