"""The names of steps, as runs show them, name artifacts; a query reads their tables and nothing else."""

import shutil

import pytest

from hasse.data.errors import InputError
from hasse.flows.run.query import query
from hasse.pipeline.store import Store


@pytest.fixture(scope="module")
def twice(finished, make_hasse, tmp_path_factory):
    """A store with two runs whose judges and rescue arms differ."""
    command = make_hasse(tmp_path_factory.mktemp("twice"))
    shutil.copytree(finished.store, command.store)
    command.first = finished.steps
    command.second = command.run("--set", "judge.chunk_size=5", "--set", "train.arms.rescue.alpha=0.5")
    runs = [row["run"] for row in command.json("ls", "--runs")]
    command.older, command.newer = runs
    return command


@pytest.mark.parametrize("step", ["judge", "evaluate/rescue/seed-0", "evaluate/student", "train/sft/seed-0"])
def test_a_step_is_that_of_the_newest_run_and_says_so(twice, step):
    assert twice.json("show", step)["fingerprint"] == twice.second[step]["ref"].partition("/")[2]
    assert f"{step} of run {twice.newer}, the newest run of the store; --run chooses another run" in twice("show", step)


def test_run_chooses_the_run(twice):
    shown = twice.json("explain", "train/rescue/seed-0", "--run", twice.older)
    assert shown["ref"] == twice.first["train/rescue/seed-0"]["ref"] != twice.second["train/rescue/seed-0"]["ref"]
    assert twice.older not in twice("explain", "train/rescue/seed-0", "--run", twice.older).splitlines()[0]
    assert "no run 'nowhere'" in twice("show", "judge", "--run", "nowhere", code=2)


def test_a_reference_of_an_artifact_stays_one_and_asks_no_run(twice):
    ref = twice.first["train/rescue/seed-0"]["ref"]
    for name in (ref, ref[:-6], ref.partition("/")[2]):
        assert twice.json("show", name)["fingerprint"] == ref.partition("/")[2]
    assert "--run" not in twice("show", ref)
    other = twice.second["train/rescue/seed-0"]["ref"]
    assert f"run {twice.older} has no finished step {other!r}" in twice("show", other, "--run", twice.older, code=2)


def test_a_beginning_that_fits_several_steps_names_them(twice):
    text = twice("show", "train", code=2)
    assert f"'train' fits 2 steps of run {twice.newer}: train/rescue/seed-0, train/sft/seed-0" in text
    assert twice.json("show", "train/rescue")["name"] == "train/rescue/seed-0"


def test_an_unknown_name_gets_the_nearest_ones(twice):
    assert "did you mean evaluate/rescue/seed-0" in twice("show", "evaluate/resque/seed-0", code=2)
    assert "did you mean judge" in twice("inspect", "jugde", "--run", twice.older, code=2)


def test_a_step_that_the_newest_run_has_not_is_of_the_run_that_has_it(twice, make_hasse, tmp_path):
    command = make_hasse(tmp_path)
    shutil.copytree(twice.store, command.store)
    command.run("--only", "prompts", "--set", "source.num_test=13")
    newest = command.json("ls", "--runs")[-1]["run"]
    text = command("show", "judge")
    assert f"judge of run {twice.newer}, since the newest run, {newest}, has no finished step of that name" in text
    assert f"prompts of run {newest}, the newest" in command("show", "prompts")


def test_the_other_commands_know_steps_too(twice, tmp_path):
    assert twice.output("fetch", "train/rescue/seed-0").strip().endswith(twice.second["train/rescue/seed-0"]["ref"])
    older = twice.output("fetch", "train/rescue/seed-0", "--run", twice.older)
    assert older.strip().endswith(twice.first["train/rescue/seed-0"]["ref"])
    assert len(twice.json("preview", "examples", "--limit", "1")) > 0
    twice("export", "order", "--format", "ranked", "--out", str(tmp_path / "out"))
    assert len(twice.json("inspect", "evaluate/rescue/seed-0", "--limit", "2")) == 2


REFUSED = [
    "copy candidate to '{folder}/stolen.csv'",
    "copy (select 1) to '{folder}/stolen.parquet' (format parquet)",
    "export database '{folder}/dump'",
    "select * from read_csv('{secret}')",
    "select * from read_text('{secret}')",
    "select * from read_blob('{secret}')",
    "select * from read_parquet('{table}')",
    "select * from '{secret}'",
    "select * from glob('{folder}/*')",
    "attach '{folder}/other.db'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "reset enable_external_access",
    "set lock_configuration = false",
    "pragma temp_directory = '{folder}'",
    "select 1; copy (select 1) to '{folder}/stolen.csv'",
    "select * from tables",
    "select * from self",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_a_query_reaches_no_file_and_no_setting(finished, tmp_path, sql):
    secret = tmp_path / "secret.csv"
    secret.write_text("key\nhunter2\n")
    artifact = Store(finished.store).artifact(finished.steps["generate"]["ref"])
    before = sorted(tmp_path.iterdir())
    asked = sql.format(folder=tmp_path, secret=secret, table=artifact.file("candidate.parquet"))
    with pytest.raises(InputError, match="the SQL query ") as refused:
        query(artifact, asked)
    assert "hunter2" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_says_what_a_query_may_read(finished, tmp_path):
    text = finished("inspect", "generate", "--sql", f"copy candidate to '{tmp_path / 'stolen.csv'}'", code=2)
    assert "It may read these tables and nothing else: candidate" in text
    assert "Traceback" not in text
    assert not (tmp_path / "stolen.csv").exists()
