"""The library on a finished store, as a user's script sees it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import hasse
from hasse.data.records import Judgement
from tests.flows.conftest import TINY
from tests.pages import ROOT, Page

RESCUE = "train/rescue/seed-0"


@pytest.fixture(scope="module")
def reader(finished):
    return hasse.open_store(finished.store)


@pytest.fixture(scope="module")
def run(reader):
    return reader.run("tiny")


@pytest.fixture
def copied(finished, tmp_path):
    """A store of one's own that holds the finished run."""
    shutil.copytree(finished.store, tmp_path / "store")
    return tmp_path / "store"


def test_a_run_is_found_by_its_id_a_beginning_of_it_and_its_recipe(reader):
    (only,) = reader.runs()
    assert [reader.run(name).id for name in (only.id, only.id[:-3], "tiny")] == [only.id] * 3
    assert (only.recipe_name, only.status, only.is_done) == ("tiny", "done", True)
    assert only.recipe["train"]["steps"] == TINY["train"]["steps"]
    assert only.started.tzinfo is not None
    with pytest.raises(hasse.InputError, match="no run 'absent'"):
        reader.run("absent")


def test_steps_tell_their_artifacts(finished, run):
    assert {step.name: step.ref for step in run.steps} == {name: s["ref"] for name, s in finished.steps.items()}
    judge, rescue = run.step("judge"), run.step(RESCUE)
    assert judge.counts == {"judgement": {"ok": 72}}
    assert judge.metrics["units"] == 24
    assert judge.path == finished.store / judge.ref
    assert (judge.tables, judge.cached, judge.cost_usd) == (["judgement"], False, 0.0)
    assert rescue.labels == {"arm": "rescue", "seed": 0}
    assert rescue.tables == ["checkpoint", "curve_point"]
    assert (rescue.file("model") / "model.safetensors").is_file()
    with pytest.raises(hasse.InputError, match="unknown file 'modle'; did you mean 'model'"):
        rescue.file("modle")
    with pytest.raises(hasse.InputError, match="unknown step 'jugde'; did you mean 'judge'"):
        run.step("jugde")


def test_tables_are_arrow_tables_and_data_frames(run):
    table = run.table("judge")
    records = list(run.step("judge").artifact.records(Judgement))
    assert table.column("prompt_id").to_pylist() == [record.prompt_id for record in records]
    assert run.pandas("judge")["correct"].tolist() == [record.correct for record in records]
    assert set(run.table(RESCUE, name="curve_point").column_names) == {"step", "metric", "value"}
    with pytest.raises(hasse.InputError, match="has the tables checkpoint, curve_point; give the name of one"):
        run.table(RESCUE)
    with pytest.raises(hasse.InputError, match="unknown table 'curve'; did you mean 'curve_point'"):
        run.table(RESCUE, name="curve")
    with pytest.raises(hasse.InputError, match=r"step report has no tables; its files: report\.html"):
        run.table("report")


def test_without_pandas_a_data_frame_is_refused(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(hasse.InputError, match="pandas is not installed"):
        run.pandas("judge")


def test_sql_joins_the_tables_of_steps(run):
    joined = (
        "select source, count(*) as n from judge join generate using (prompt_id, candidate_id) group by 1 order by 1"
    )
    assert run.sql(joined).to_pylist() == [{"source": "human", "n": 24}, {"source": "student", "n": 48}]
    by_names = f'select count(*) as n from "{RESCUE}/curve_point" join judge/judgement on true'
    with pytest.raises(hasse.InputError, match="the SQL query fails"):
        run.sql(by_names)  # a name with a slash is quoted
    assert run.sql(f'select max(step) as last from "{RESCUE}/curve_point"').to_pylist() == [{"last": 6}]
    assert run.sql('select count(*) as n from "judge/judgement"').to_pylist() == [{"n": 72}]
    assert run.sql('select count(*) as n from "evaluate/student"').to_pylist() == [{"n": 24}]


def test_sql_takes_all_steps_of_a_stage_together_with_their_labels(run):
    arms = run.sql("select arm, seed, count(*) as n from evaluate group by all order by arm").to_pylist()
    assert arms == [
        {"arm": "rescue", "seed": 0, "n": 24},
        {"arm": "sft", "seed": 0, "n": 24},
        {"arm": "student", "seed": None, "n": 24},
    ]
    curves = 'select distinct step_name, max(step) as last from "train/curve_point" group by 1 order by 1'
    assert run.sql(curves).to_pylist() == [{"step_name": f"train/{arm}/seed-0", "last": 6} for arm in ("rescue", "sft")]


def test_sql_reads_nothing_but_the_tables(run, tmp_path):
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    for query in (f"from read_csv('{tmp_path}/secret.csv')", f"copy judge to '{tmp_path}/stolen.csv'"):
        with pytest.raises(hasse.InputError, match="the SQL query"):
            run.sql(query)
    with pytest.raises(hasse.InputError, match=r"Tables: .*generate/candidate"):
        run.sql("select * from nonsense")
    assert not (tmp_path / "stolen.csv").exists()


def test_a_report_is_read_as_text_and_table(run):
    assert [row["arm"] for row in run.results if row["decoding"] == "greedy"] == ["student", "rescue", "sft"]
    assert run.headline.startswith("On greedy answers, rescue (+0.0 points) and sft (+0.0)")
    assert "<html" in run.report.read_text()


def test_a_trained_model_is_loaded_and_another_step_is_refused(run, reader):
    model, tokenizer = hasse.load_model(run.step(RESCUE))
    again, _ = hasse.load_model(RESCUE, store=reader)
    folder, _ = hasse.load_model(run.step(RESCUE).file("model"))
    ids = tokenizer("Some text", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = [loaded(ids).logits for loaded in (model, again, folder)]
    assert not model.training
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])
    with pytest.raises(hasse.InputError, match="holds no model; give a step of `student` or `train`"):
        hasse.load_model(run.step("judge"))


def test_a_damaged_model_is_refused(copied):
    step = hasse.open_store(copied).run("tiny").step(RESCUE)
    path = step.path / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(hasse.WorkError, match=r"model\.safetensors.*run the same command again"):
        hasse.load_model(step)


def test_a_deleted_artifact_is_told(copied):
    run = hasse.open_store(copied).run("tiny")
    shutil.rmtree(run.step("judge").path)
    with pytest.raises(hasse.InputError, match="the artifact of step judge, is no longer in"):
        hasse.open_store(copied).run("tiny").table("judge")


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(hasse.InputError, match="there is no store in"):
        hasse.open_store(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_recipe_is_computed_from_a_dict_a_path_and_a_recipe(copied, finished):
    told: list[tuple[str, int, int]] = []
    tiny = yaml.safe_load(finished.recipe.read_text())
    run = hasse.run(tiny, store=copied, progress=lambda *what: told.append(what))
    assert [step.cached for step in run.steps] == [True] * len(finished.steps)
    assert [what for what in told if what[0] == "judge"] == [("judge", 1, 1)]
    assert hasse.run(finished.recipe, store=copied, only="judge").step("judge").cached
    recipe = hasse.load_recipe(tiny, {"report.num_examples": 1})
    assert recipe.report.num_examples == 1
    changed = hasse.run(recipe, store=hasse.open_store(copied), set=["report.num_resamples=101"])
    assert [step.name for step in changed.steps if not step.cached] == ["report"]
    assert changed.recipe["report"]["num_resamples"] == 101
    anew = hasse.run(tiny, store=copied, from_stage="report")
    assert [step.name for step in anew.steps if not step.cached] == ["report"]
    assert hasse.open_store(copied).runs()[0].id in (changed.id, anew.id)


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ("resceu-demo", {}, "unknown recipe 'resceu-demo'; did you mean 'rescue-demo'"),
        (TINY, {"train.stepz": 3}, "stepz"),
        (TINY, "train.steps=3", "changed settings are a list or a dict"),
        ({"name": "x"}, {}, "recipe x is not valid"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path, recipe, changes, said):
    with pytest.raises(hasse.RecipeError, match=said):
        hasse.run(recipe, store=tmp_path, set=changes)


SCRIPT = """
import hasse

print("the script begins")
run = hasse.run("tiny.yaml", set={"train.steps": 2}, only="train")
print([step.name for step in run.steps if not step.cached])
"""


def test_a_script_needs_no_guard_around_its_calls(copied, finished, tmp_path):
    """Steps with a model run in child processes, which must not run the script again."""
    shutil.copy(finished.recipe, tmp_path / "tiny.yaml")
    (tmp_path / "script.py").write_text(SCRIPT)
    found = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == ["the script begins", "['train/rescue/seed-0', 'train/sft/seed-0']"]


@pytest.fixture(scope="module")
def documented(finished, tmp_path_factory):
    """A folder with `store` and `recipe.yaml`, as the page and the notebook have it, with a run of `rescue-demo`."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(finished.store, folder / "store")
    tiny = yaml.safe_load(finished.recipe.read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**tiny, "name": "rescue-demo"}))
    hasse.run(str(folder / "recipe.yaml"), store=folder / "store")
    return folder


def execute(blocks: list[str], folder: Path) -> str:
    """What blocks of code print, one after the other in one program."""
    (folder / "blocks.py").write_text("\n".join(blocks))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error::SyntaxWarning"}
    found = subprocess.run(
        [sys.executable, "blocks.py"], cwd=folder, capture_output=True, text=True, env=environment, timeout=500
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_the_code_of_the_page_runs(documented):
    printed = execute(Page(ROOT / "docs" / "library.md").code(), documented)
    assert "report: 1 of 1" in printed
    assert "train/rescue/seed-0" in printed


def test_the_cells_of_the_notebook_run_and_hold_no_outputs(documented):
    notebook = json.loads((ROOT / "docs" / "library.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert "On greedy answers" in execute(["".join(cell["source"]) for cell in cells], documented)
