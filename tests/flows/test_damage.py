"""Every file of a small store, damaged in five ways: all commands go on, and nothing wrong is served."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hasse.data.errors import CorruptFile, InputError
from hasse.data.records import Judgement
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run import listing
from hasse.flows.run import run as walk
from hasse.flows.run.history import FOLDER, History, write_history
from hasse.flows.run.listing import artifact_rows, run_rows
from hasse.flows.run.prune import delete_unused, prunable, unknown
from hasse.flows.run.records import find_run, read_runs, write_record
from hasse.flows.run.resume import resume
from hasse.flows.run.verify import verify
from hasse.pipeline.settings_file import validate
from hasse.pipeline.store import Store
from tests.flows.conftest import TINY

STEPS = ("prompts", "student", "generate", "judge", "order")

WAYS = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flip": lambda path: _flip(path),
    "empty": lambda path: path.write_bytes(b""),
    "list": lambda path: path.write_text("[]"),
    "folder": lambda path: _to_folder(path),
}


def _flip(path):
    content = bytearray(path.read_bytes() or b"x")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _to_folder(path):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def light(recipe):
    """The steps before training, in this process, with a student that nobody asks."""
    for step in plan(recipe):
        if step.name in STEPS:
            changes = {"run": _no_model, "identity": None} if step.name == "student" else {}
            yield replace(step, stage=replace(step.stage, in_child=False, **changes))


def _no_model(job):
    (job.path / "model.txt").write_text("no model")


class Quiet:
    def started(self, step):
        return lambda done, total: None

    def finished(self, step, done):
        pass


def run(recipe, store, **options):
    return walk.walk(recipe, store, Quiet(), **options)


def judged(run):
    return [(j.prompt_id, j.candidate_id, j.correct) for j in run.artifacts["judge"].records(Judgement)]


@pytest.fixture(scope="module")
def recipe():
    values = copy.deepcopy(TINY)
    values["generate"]["groups"] = [{"sampler": "dataset"}]
    values["train"]["arms"] = {"sft": {"method": "sft"}}
    return validate(Recipe, values, where="tiny")


@pytest.fixture(autouse=True)
def only_without_models(monkeypatch):
    monkeypatch.setattr(walk, "plan", lambda recipe: list(light(recipe)))


@pytest.fixture(scope="module")
def pristine(recipe, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "plan", lambda recipe: list(light(recipe)))
        patch.setattr("hasse.pipeline.index.SETTLED_NS", 0)
        store = Store(tmp_path_factory.mktemp("pristine") / "store")
        done = run(recipe, store)
        write_history(store, History(recipe="nightly"))
        artifact_rows(store)
    return store, {name: artifact.manifest.identity for name, artifact in done.artifacts.items()}, judged(done)


MARKED = [pytest.param(way, marks=() if way in ("flip", "folder") else pytest.mark.slow) for way in WAYS]


@pytest.mark.parametrize("way", MARKED)
def test_no_damage_ends_a_command_or_is_served(way, pristine, recipe, tmp_path):
    whole, identities, judgements = pristine
    names = [p.relative_to(whole.root) for p in sorted(whole.root.rglob("*")) if p.is_file()]
    assert {name.parts[0] for name in names} >= {*STEPS, "runs", FOLDER, ".index", ".locks"}
    for number, name in enumerate(names):
        store = Store(tmp_path / str(number))
        shutil.copytree(whole.root, store.root)
        WAYS[way](store.root / name)
        _go_through_commands(store, recipe, name)
        done = run(recipe, store)
        assert {step: artifact.manifest.identity for step, artifact in done.artifacts.items()} == identities, name
        assert judged(done) == judgements, name
        for recorded in read_runs(store)[:1]:
            assert judged(resume(store, recorded, Quiet())) == judgements
        shutil.rmtree(store.root)


def _go_through_commands(store: Store, recipe: Recipe, name: Path) -> None:
    assert len(artifact_rows(store)) + len(run_rows(store)) >= len(STEPS)
    said = json.dumps(verify(store))
    if name.parts[0] in (*STEPS, "runs", FOLDER) and not name.name.endswith(("stamps.json", ".lock")):
        assert name.name in said, f"{name} is not named by verify"
    delete_unused(store, prunable(store, keep_runs=5))


def test_a_broken_record_is_shown_and_keeps_what_its_run_may_have_used(pristine, recipe, tmp_path):
    store = Store(tmp_path / "store")
    shutil.copytree(pristine[0].root, store.root)
    (path,) = (store.root / "runs").glob("*.json")
    path.write_text(path.read_text()[:-200])
    (row,) = run_rows(store)
    assert row["run"] == path.stem
    assert row["status"].startswith("broken: ")
    for name in (path.stem, path.stem[:-3]):
        with pytest.raises(CorruptFile, match=rf"{path.name} is not a record of a run: .*; restore the file, or run"):
            find_run(store, name)
    with pytest.raises(InputError, match=r"no run 'another' in .*; 1 of their records cannot be read"):
        find_run(store, "another")
    with pytest.raises(InputError, match="the name of the run is empty"):
        find_run(store, "")
    other = recipe.model_copy(update={"name": "other", "judge": recipe.judge.model_copy()})
    run(other, store)
    assert prunable(store, keep_runs=1) == []
    assert path.name in unknown(store, keep_runs=1)[0]
    path.unlink()
    assert unknown(store, keep_runs=1) == []


def test_what_a_stopped_run_would_go_on_with_stays_until_its_recipe_is_done(pristine, recipe, tmp_path):
    store = Store(tmp_path / "store")
    shutil.copytree(pristine[0].root, store.root)
    (record,) = read_runs(store)
    work, rows = "judge/.work-0123", "judge/rows/abcd"
    for name in (work, rows, "judge/.work-4567", "order/rows/abcd"):
        (store.root / name).mkdir(parents=True)
    changed = {**record, "recipe": {**record["recipe"], "description": "another"}}
    write_record(store, {**changed, "run_id": "tiny-20250101-000000-0001", "status": "running", "working": [work, rows],
                         "started": "2025-01-01T00:00:00+00:00"})  # fmt: skip
    gone = prunable(store, keep_runs=5)
    assert gone == ["judge/.work-4567", "order/rows/abcd"]
    assert set(prunable(store, keep_runs=5, unfinished=True)) == {*gone, work, rows}
    write_record(store, {**changed, "run_id": "tiny-20250102-000000-0001", "started": "2025-01-02T00:00:00+00:00"})
    assert set(prunable(store, keep_runs=5)) == {*gone, work, rows}


def test_what_another_process_builds_is_not_deleted(pristine, tmp_path):
    store = Store(tmp_path / "store")
    shutil.copytree(pristine[0].root, store.root)
    ref = artifact_rows(store, stage="order")[0]["ref"]
    with store.lock(*ref.split("/")):
        assert delete_unused(store, [ref]) == []
    assert delete_unused(store, [ref]) == [ref]
    assert not (store.root / ref).exists()


def test_a_prune_in_the_middle_of_a_run_does_not_end_it(pristine, recipe, tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    shutil.copytree(pristine[0].root, store.root)
    for path in (store.root / "runs").glob("*.json"):
        path.unlink()
    perform = walk.perform

    def pruned_before(store, step, artifacts, **options):
        delete_unused(store, prunable(store, keep_runs=1))
        if step.name == "order" and not deleted:
            deleted.append(artifacts["judge"].ref)
            shutil.rmtree(artifacts["judge"].path)  # as by a prune of an earlier version
        return perform(store, step, artifacts, **{**options, "refresh": step.name == "order"})

    deleted: list[str] = []
    monkeypatch.setattr(walk, "perform", pruned_before)
    assert judged(run(recipe, store)) == pristine[2]
    assert deleted


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_index_is_written_anew(way, pristine, tmp_path):
    store = Store(tmp_path / "store")
    shutil.copytree(pristine[0].root, store.root)
    expected = artifact_rows(store), run_rows(store)
    for path in sorted((store.root / ".index").glob("*.json")):
        WAYS[way](path)
    assert (artifact_rows(store), run_rows(store)) == expected
    assert (artifact_rows(store), run_rows(store)) == expected


def test_a_stale_index_shows_what_is_there_and_spares_reading(pristine, tmp_path, monkeypatch):
    monkeypatch.setattr("hasse.pipeline.index.SETTLED_NS", 0)
    store = Store(tmp_path / "store")
    shutil.copytree(pristine[0].root, store.root)
    before = artifact_rows(store)
    read = []
    monkeypatch.setattr(listing, "_of_manifest", lambda path: read.append(path) or {})
    assert artifact_rows(store) == before
    assert read == []
    monkeypatch.undo()
    store.delete(before[0]["ref"])
    assert artifact_rows(store) == before[1:]
    path = store.root / before[1]["ref"] / "manifest.json"
    path.write_text(path.read_text().replace('"seconds": ', '"seconds": 7'))
    assert artifact_rows(store)[-1]["step"] == "broken"
