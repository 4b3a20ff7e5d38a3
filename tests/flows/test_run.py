"""Whole runs: what is cached, what a change touches, what `kill -9` costs."""

import copy
import os
import shutil
import signal
import time

import pytest
import yaml
from safetensors.torch import load_file

from hasse.data.records import Candidate, CurvePoint, Evaluation, Judgement, PartialOrder
from hasse.pipeline.store import Store


def computed(steps) -> set[str]:
    return {name for name, step in steps.items() if not step["cached"]}


def rows(hasse, steps, step, record):
    return list(Store(hasse.store).resolve(steps[step]["ref"]).records(record))


@pytest.fixture
def copied(finished, hasse):
    """A store of one's own that holds the finished run."""
    shutil.copytree(finished.store, hasse.store)
    hasse.tiny = yaml.safe_load(hasse.recipe.read_text())
    return hasse


def test_every_stage_ran_and_conserved_its_rows(finished):
    steps = finished.steps
    assert computed(steps) == set(steps)
    candidates = rows(finished, steps, "generate", Candidate)
    assert len(candidates) == 24 * 3
    assert len({(c.prompt_id, c.candidate_id) for c in candidates}) == 24 * 3
    assert [c.prompt_id for c in candidates] == sorted(c.prompt_id for c in candidates)
    judgements = rows(finished, steps, "judge", Judgement)
    assert {(j.prompt_id, j.candidate_id) for j in judgements} == {(c.prompt_id, c.candidate_id) for c in candidates}
    assert len(rows(finished, steps, "order", PartialOrder)) == 24
    assert len(rows(finished, steps, "evaluate/rescue/seed-0", Evaluation)) == 12 * 2


def test_a_second_run_finds_everything(copied):
    assert computed(copied.run()) == set()


def test_another_order_runs_only_what_comes_after(copied):
    steps = copied.run("--set", "order.strategy=fo_similarity")
    untouched = {"prompts", "student", "generate", "judge", "evaluate/student", "train/sft/seed-0"}
    assert set(steps) - computed(steps) <= untouched
    assert untouched - {"train/sft/seed-0"} <= set(steps) - computed(steps)


def test_an_order_that_comes_out_the_same_trains_nothing(copied):
    """This small student is never right, so HP and LP say the same, and what follows is keyed by what was said."""
    steps = copied.run("--set", "order.strategy=hp")
    assert "order" in computed(steps)
    assert not {"train/sft/seed-0", "train/rescue/seed-0"} & computed(steps)


@pytest.mark.parametrize("strategy", ["lp_hp", "hp"])
def test_every_strategy_runs(copied, strategy):
    copied.run("--only", "order", "--set", f"order.strategy={strategy}")


def test_a_dry_run_says_what_training_takes(copied):
    changed = ["run", str(copied.recipe), "--dry-run", "--set", "train.learning_rate=5e-4"]
    plan = {step["step"]: step for step in copied.json(*changed)}
    found = {name: step["estimate"] for name, step in plan.items() if step["estimate"]}
    assert set(found) == {"train/sft/seed-0", "train/rescue/seed-0"}
    rescue, sft = found["train/rescue/seed-0"], found["train/sft/seed-0"]
    assert rescue["steps"] == sft["steps"] == 6
    assert rescue["useful_tokens"] > sft["useful_tokens"] > 6 * 4
    assert rescue["operations"] > sft["operations"]
    assert all(value > 0 for value in (rescue["seconds"], rescue["peak_bytes"]))
    assert rescue["layout"].startswith(("shared: one copy", "packed: one copy"))
    shown = copied(*changed)
    assert "6 steps, " in shown
    assert " GiB, about " in shown


def test_a_dry_run_refuses_what_cannot_fit(copied):
    said = copied(
        "run", str(copied.recipe), "--dry-run", "--set", "train.memory_gib=0.0001", "--set", "train.steps=7", code=2
    )
    assert "its longest answer is" in said
    assert "prompt " in said
    assert "Traceback" not in said


def test_appended_prompts_alone_are_generated_and_judged(copied, finished):
    copied.run("--set", "source.num_train=29", "--only", "prompts")
    steps = copied.run("--set", "source.num_train=29")
    assert not steps["generate"]["cached"]
    assert steps["student"]["cached"]
    assert steps["evaluate/student"]["cached"]
    store = Store(copied.store)
    metrics = {name: store.resolve(steps[name]["ref"]).manifest.metrics for name in ("generate", "judge", "order")}
    assert metrics["generate"]["units_computed"] == 5 * 2
    assert metrics["judge"]["units_computed"] == metrics["order"]["units_computed"] == 5
    before = {(c.prompt_id, c.candidate_id): c for c in rows(finished, finished.steps, "generate", Candidate)}
    after = {(c.prompt_id, c.candidate_id): c for c in rows(copied, steps, "generate", Candidate)}
    assert {key: after[key] for key in before} == before
    assert len(after) == 29 * 3


def test_a_changed_setting_of_one_arm_leaves_the_other(copied):
    steps = copied.run("--set", "train.arms.rescue.alpha=0.5")
    assert computed(steps) == {"train/rescue/seed-0", "evaluate/rescue/seed-0", "report"}


def test_an_adapter_is_trained_by_a_switch_evaluated_on_its_base_and_merged_by_export(copied, tmp_path):
    lora = "{r: 2, alpha: 4.0, target_modules: [q_proj, v_proj]}"
    only = ["--set", "train.arms={rescue: {method: rescue}}", "--set", "report.baselines=[student]"]
    steps = copied.run("--set", f"train.lora={lora}", "--set", "train.learning_rate=0.01", *only)
    ref = steps["train/rescue/seed-0"]["ref"]
    student, trained = (Store(copied.store).resolve(steps[s]["ref"]) for s in ("student", "train/rescue/seed-0"))
    assert not [name for name in trained.manifest.files if name.endswith("/model.safetensors")]
    assert trained.manifest.metrics["adapter_on"] == student.ref
    assert trained.manifest.identity["weights"] != student.manifest.identity["weights"]
    assert not steps["evaluate/rescue/seed-0"]["cached"]
    assert f"adapter on {student.ref}" in copied("ls", "--stage", "train")
    copied("export", ref, "--merged", "--out", str(tmp_path / "whole"))
    before, after = (load_file(f / "model.safetensors") for f in (student.path / "model", tmp_path / "whole"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {name for name in before if "q_proj" in name or "v_proj" in name}
    assert "give either --format, for orders, or --merged" in copied("export", ref, "--out", "x", code=2)
    assert "has whole weights already" in copied("export", student.ref, "--merged", "--out", "x", code=2)
    shutil.rmtree(student.path)
    assert f"it is an adapter on {student.ref}, which is missing" in copied("verify", code=1)


def test_a_truncated_file_in_the_store_is_rebuilt(copied, finished):
    path = Store(copied.store).resolve(finished.steps["judge"]["ref"]).path / "judgement.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "judgement.parquet" in copied("verify", code=1)
    assert computed(copied.run()) == {"judge"}
    assert path.read_bytes() == content
    copied("verify")


def test_from_stage_computes_anew_and_needs_what_comes_before(copied, hasse, tmp_path):
    steps = copied.run("--from-stage", "report")
    assert computed(steps) == {"report"}
    elsewhere = ["run", str(copied.recipe), "--from-stage", "order", "--store", str(tmp_path / "x")]
    assert "is not in the store" in copied(*elsewhere, code=2)
    assert "unknown stage 'ordr'; did you mean 'order'" in copied("run", str(copied.recipe), "--only", "ordr", code=2)


def test_the_plan_says_what_is_cached(copied):
    plan = copied.json("run", str(copied.recipe), "--dry-run", "--set", "train.arms.rescue.alpha=0.7")
    actions = {step["step"]: step["action"] for step in plan}
    assert {name for name, action in actions.items() if action == "compute"} == {
        "train/rescue/seed-0",
        "evaluate/rescue/seed-0",
        "report",
    }


def _kill_when(hasse, condition, *arguments):
    """Start the run, `kill -9` it as soon as the condition holds; False when it was over before."""
    process = hasse.start("run", str(hasse.recipe), *arguments)
    end = time.monotonic() + 300
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return True


def _count(hasse, pattern):
    return len(list(hasse.store.glob(pattern)))


KILLS = {
    "generate": lambda h: _count(h, "generate/rows/*/*.parquet") >= 2,
    "order": lambda h: _count(h, "order/.work-*") >= 1,
    "train": lambda h: _count(h, "train/.work-*/trainer/checkpoint-2/trainer_state.json") >= 1,
}


def test_killed_at_each_stage_and_run_again_equals_the_undisturbed_run(hasse, finished):
    killed = {stage: _kill_when(hasse, lambda stage=stage: KILLS[stage](hasse)) for stage in KILLS}
    assert killed == {"generate": True, "order": True, "train": True}
    steps = hasse.run()
    for step, record in (("generate", Candidate), ("judge", Judgement), ("order", PartialOrder)):
        assert rows(hasse, steps, step, record) == rows(finished, finished.steps, step, record)
    for arm in ("sft", "rescue"):
        name = f"train/{arm}/seed-0"
        assert rows(hasse, steps, name, CurvePoint) == rows(finished, finished.steps, name, CurvePoint)
    name = "train/rescue/seed-0"
    here = Store(hasse.store).resolve(steps[name]["ref"]).manifest.identity
    assert here == Store(finished.store).resolve(finished.steps[name]["ref"]).manifest.identity


def test_finished_chunks_outlive_a_kill(hasse):
    assert _kill_when(hasse, lambda: KILLS["generate"](hasse))
    kept = {path.name for path in hasse.store.glob("generate/rows/*/*.parquet")}
    assert len(kept) >= 2
    steps = hasse.run("--only", "generate") if _count(hasse, "prompts/*/manifest.json") else {}
    metrics = Store(hasse.store).resolve(steps["generate"]["ref"]).manifest.metrics
    assert metrics["units_found"] >= 16
    assert metrics["units_found"] + metrics["units_computed"] == 48
    assert kept <= {path.name for path in hasse.store.glob("generate/rows/*/*.parquet")}


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(hasse):
    process = hasse.start("run", str(hasse.recipe))
    while not _count(hasse, "student/.work-*"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _out, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command continues from there" in error
    assert "Traceback" not in error
    assert _count(hasse, "prompts/*/manifest.json") == 1


def test_a_changed_recipe_is_not_the_same_run(copied):
    values = copy.deepcopy(copied.tiny)
    values["evaluate"]["max_tokens"] = 4
    copied.write(values)
    assert computed(copied.run()) >= {"evaluate/student", "report"}


def test_arms_that_come_out_the_same_are_each_in_the_table(copied):
    """They share their artifacts, since these are known by content, but not their rows."""
    values = copy.deepcopy(copied.tiny)
    values["train"]["arms"]["twin"] = {"method": "sft"}
    copied.write(values)
    assert computed(copied.run()) <= {"train/twin/seed-0", "report"}
    found = copied.json("show", "report")["metrics"]["results"]
    assert [row["arm"] for row in found if row["decoding"] == "greedy"] == ["student", "rescue", "sft", "twin"]
    assert all(row["seeds"] == 1 for row in found)
