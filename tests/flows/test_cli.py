"""The commands that list, and what they say of bad input."""

import json
import re
import shutil
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from hasse.flows.cli.main import cli
from hasse.flows.recipe.recipe import load_recipe, shipped_recipes
from hasse.pipeline.store import Store


def test_ls_lists_every_artifact_and_every_run(finished):
    rows = finished.json("ls")
    assert {row["ref"] for row in rows} == {step["ref"] for step in finished.steps.values()}
    assert [row["step"] for row in finished.json("ls", "--stage", "order")] == ["order"]
    (run,) = finished.json("ls", "--runs")
    assert (run["status"], run["cached"]) == ("done", 0)
    assert "judge" in finished("ls")


def test_show_tells_where_an_artifact_comes_from(finished):
    manifest = finished.json("show", "order")
    assert manifest["counts"] == {"partial_order": {"ok": 24}}
    assert manifest["inputs"]["judgements"] == [finished.steps["judge"]["ref"]]
    printed = finished.output("show", "order")
    assert yaml.safe_load(printed)["fingerprint"] == manifest["fingerprint"]


def test_inspect_filters_rows(finished):
    (first, *_) = finished.json("inspect", "generate", "--limit", "1")
    same = finished.json("inspect", "generate", "--prompt-id", first["prompt_id"])
    assert len(same) == 3
    assert all(row["prompt_id"] == first["prompt_id"] for row in same)
    assert finished.json("inspect", "generate", "--status", "refused") == []
    assert len(finished.json("inspect", "generate", "--limit", "50")) == 50


def test_inspect_answers_sql(finished):
    rows = finished.json(
        "inspect", "generate", "--sql", "select source, count(*) as n from candidate group by 1 order by 1"
    )
    assert rows == [{"source": "human", "n": 24}, {"source": "student", "n": 48}]
    assert "the SQL query fails: " in finished("inspect", "generate", "--sql", "select nonsense from candidate", code=2)
    assert "unknown table 'candidat'; did you mean 'candidate'" in finished(
        "inspect", "generate", "--table", "candidat", code=2
    )


def test_explain_prints_the_six_parts_of_a_key(finished):
    found = finished.json("explain", "generate")
    key = found["key"]
    assert set(key) == {"stage", "code", "config", "inputs", "external"}
    assert "hasse.stages.generate.samplers.transformers" in key["code"]
    assert set(key["inputs"]["student"][0]) == {"weights", "tokenizer", "template"}
    assert "content" in key["inputs"]["prompts"][0]
    assert set(finished.json("explain", "prompts")["key"]["external"]) == {"source"}


def test_explain_says_what_differs_from_the_last_run(finished, hasse):
    shutil.copytree(finished.store, hasse.store)
    hasse.run("--set", "train.arms.rescue.alpha=0.5")
    (change,) = hasse.json("explain", "train/rescue/seed-0")["differences"]
    assert change == {"part": "config.method.alpha", "there": 0.1, "here": 0.5}
    a, b = (row["ref"] for row in hasse.json("ls", "--stage", "train") if row["step"].startswith("train/rescue"))
    assert hasse.json("explain", b, a)["differences"] == [change]


def test_verify_names_the_broken_file_and_exits_1(finished, hasse):
    shutil.copytree(finished.store, hasse.store)
    assert all(row["problems"] == [] for row in hasse.json("verify"))
    path = Store(hasse.store).resolve("order").path / "partial_order.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert "partial_order.parquet" in hasse("verify", code=1)


def test_prune_keeps_what_the_last_runs_used(finished, hasse):
    shutil.copytree(finished.store, hasse.store)
    assert hasse.json("prune") == []
    hasse.run("--set", "train.arms.rescue.alpha=0.5")
    going = {row["path"] for row in hasse.json("prune", "--keep-runs", "1")}
    assert {path.split("/")[0] for path in going} == {"train", "evaluate", "report"}
    assert len(going) == 3
    hasse("prune", "--keep-runs", "1", "--yes")
    assert hasse.json("prune", "--keep-runs", "1") == []
    assert all(step["cached"] for step in hasse.run("--set", "train.arms.rescue.alpha=0.5").values())


def test_recipes_and_methods_are_listed(finished):
    assert {"rescue-demo", "rescue-esnli", "rescue-multidoc"} <= {row["recipe"] for row in finished.json("recipes")}
    methods = finished.json("methods")
    assert {"sft", "best_of_k", "rescue"} <= {row["method"] for row in methods}
    assert all(row["description"] for row in methods)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid(name):
    assert load_recipe(name, []).name == name


BAD = [
    (["generate.groups.1.num_samples=many"], "generate.groups.1.num_samples: Input should be a valid integer"),
    (["train.arms.rescue.alfa=1"], "train.arms.rescue.alfa: unknown key 'alfa'; did you mean 'alpha'?"),
    (["trian.steps=1"], "trian: unknown key 'trian'; did you mean 'train'?"),
    (["order.strategy=lphp"], "unknown strategy 'lphp'; did you mean 'lp_hp'?"),
    (["generate.groups=[{sampler: transformers, num_samples: 1}]"], "K = 1 candidate a prompt"),
    (["generate.groups.0.num_samples=3"], "a prompt has one reference"),
    (["train.arms.gap={method: gap_reward}"], "gap_reward is a part of pit"),
    (["train.arms.pit={method: pit}", "train.overrides={pit: {steps: 4}}"], "pit has optimisers of its own; set these"),
    (["train.steps=-1"], "train.steps: Input should be greater than or equal to 1"),
    (["report.baselines=[sfft]"], "unknown arm 'sfft'; did you mean 'sft'?"),
    (["train.overrides={resque: {}}"], "unknown arm 'resque'; did you mean 'rescue'?"),
    (["task.labels=[a, b]"], "field 'label': unknown label"),
    (["student.model=nowhere"], "give either model"),
    (["train.precision=bfloat16"], "needs a CUDA device"),
    (["generate.groups.1.name=human"], "every group needs a name of its own"),
]


@pytest.mark.parametrize(("assignments", "message"), BAD, ids=[b[0][0] for b in BAD])
def test_a_wrong_recipe_is_refused_with_a_message(hasse, assignments, message):
    if "bfloat16" in assignments[0]:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine can honour it")
    options = [option for a in assignments for option in ("--set", a)]
    text = hasse("run", str(hasse.recipe), *options, "--only", "prompts", code=2)
    assert message in text
    assert "Traceback" not in text


def test_an_unknown_recipe_and_a_missing_file_are_named(hasse):
    assert "unknown recipe 'rescue-dmo'; did you mean 'rescue-demo'?" in hasse("run", "rescue-dmo", code=2)
    assert "no.yaml cannot be read: No such file" in hasse("run", "no.yaml", code=2)


def test_a_store_that_cannot_be_written_is_named(hasse):
    (hasse.folder / "file").write_text("")
    text = hasse("run", str(hasse.recipe), "--store", str(hasse.folder / "file" / "store"), code=2)
    assert "cannot be written" in text


def test_a_model_folder_without_tokenizer_is_named(hasse, finished):
    model = hasse.folder / "model"
    shutil.copytree(Store(finished.store).resolve("student").path / "model", model)
    for path in model.glob("*token*"):
        path.unlink()
    options = ["--set", "student.scratch=null", "--set", f"student.model={model}"]
    assert "has no tokenizer (" in hasse("run", str(hasse.recipe), *options, code=2)


@pytest.fixture
def model(hasse, finished):
    """A model folder of one's own, and the options of a run with it as the student."""
    folder = hasse.folder / "model"
    shutil.copytree(Store(finished.store).resolve("student").path / "model", folder)
    return folder, ["--set", "student.scratch=null", "--set", f"student.model={folder}"]


def forget(folder, names):
    for file, name in names.items():
        values = json.loads((folder / file).read_text())
        values.pop(name, None)
        (folder / file).write_text(json.dumps(values))


def test_a_model_of_which_no_file_names_an_end_token_is_refused(hasse, model):
    folder, options = model
    ends = {
        "config.json": "eos_token_id",
        "generation_config.json": "eos_token_id",
        "tokenizer_config.json": "eos_token",
    }
    forget(folder, ends)
    assert "names no end-of-sequence token" in hasse("run", str(hasse.recipe), *options, code=2)


def test_a_tokenizer_without_padding_is_taken(hasse, model):
    folder, options = model
    forget(folder, {"tokenizer_config.json": "pad_token"})
    assert "train/rescue/seed-0" in hasse.run(*options, "--set", "task.instruction=''")  # its context is short


def test_explicit_pairs_with_a_cycle_name_the_prompt(finished, hasse):
    shutil.copytree(finished.store, hasse.store)
    (row, *_) = hasse.json("inspect", "order", "--limit", "1")
    pairs = [
        {"prompt_id": row["prompt_id"], "above": a, "below": b}
        for a, b in (("human-0", "student-0"), ("student-0", "human-0"))
    ]
    path = hasse.folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    options = ["--set", "order={strategy: pairs, path: " + str(path) + "}"]
    text = hasse("run", str(hasse.recipe), *options, code=2)
    assert f"prompt {row['prompt_id']}: the pairs contain the cycle human-0 > student-0 > human-0" in text
    path.write_text(json.dumps(pairs[0]) + "\n")
    steps = hasse.run(*options, "--only", "order")
    found = Store(hasse.store).resolve(steps["order"]["ref"])
    assert found.manifest.counts == {"partial_order": {"ok": 1, "unordered": 23}}
    path.write_text(json.dumps({**pairs[0], "below": "student-9"}) + "\n")
    assert "pairs.jsonl, row 1, field 'below'" in hasse("run", str(hasse.recipe), *options, code=2)


def test_golden_prints_every_number_and_fails_when_one_is_off(hasse, tmp_path):
    path = Path(__file__).parents[1] / "golden_vectors.json"
    assert "431 numbers, 0 off" in hasse("golden", str(path))
    cases = json.loads(path.read_text())
    cases["laffi"][0]["grad"][0][2] += 1e-8
    (tmp_path / "off.json").write_text(json.dumps(cases))
    shown = hasse("golden", str(tmp_path / "off.json"), code=1)
    assert "1 off" in shown
    assert "grad[0][2]" in shown
    assert "no such" in hasse("golden", str(tmp_path / "absent.json"), code=2).lower()


def test_every_command_says_in_one_uncut_line_what_it_does():
    for name, group in {"hasse": cli, "hasse annotate": cli.commands["annotate"]}.items():
        listed = CliRunner().invoke(group, ["--help"], prog_name=name, terminal_width=80).output
        lines = listed.partition("Commands:\n")[2].splitlines()
        assert len(lines) == len(group.commands)
        assert [line for line in lines if not re.fullmatch(r"  [a-z]+ +[A-Z].*[A-Za-z0-9`]\.", line)] == []
        assert "..." not in listed.partition("Commands:\n")[2]


def test_every_argument_of_a_command_is_explained():
    for name, command in cli.commands.items():
        for argument in (p for p in command.params if isinstance(p, click.Argument)):
            assert argument.make_metavar(click.Context(command)).strip("[].") in command.help, name
