"""All five methods and their baselines in one small run: what it leaves, and that each resumes after `kill -9`."""

import copy
import json
import os
import signal
import time

import pytest

from hasse.data.records import CurvePoint, TrainingExample
from hasse.pipeline.store import Store

PIT = {
    "method": "pit",
    "max_length": 320,
    "improver": {"steps": 4, "prompts_per_step": 4, "learning_rate": 1e-3, "save_steps": 1},
    "reward_model": {"steps": 4, "prompts_per_step": 4, "learning_rate": 1e-3, "save_steps": 1},
    "easy": {"steps": 3, "prompts_per_step": 2, "num_generations": 2, "max_tokens": 6, "save_steps": 1},
    "hard": {"steps": 3, "prompts_per_step": 2, "num_generations": 2, "max_tokens": 6, "save_steps": 1},
}
ARMS = {
    "sft": {"method": "sft"},
    "dpo": {"method": "dpo"},
    "minor-sft": {"method": "minor_sft", "beta": "half_weight"},
    "rescue": {"method": "rescue", "anchor": "minor_sft"},
    "tuna-p": {"method": "tuna"},
    "laffi": {"method": "laffi", "aux_answer_weight": 1},
    "pit": PIT,
    "pit-stops": {**PIT, "rounds": 3, "threshold": 0.0},
}
CONTEXTUAL = {
    "start": "tuna-p",
    "generate": {
        "groups": [{"sampler": "dataset"}, {"sampler": "diverse", "num_samples": 2, "max_tokens": 6}],
        "chunk_size": 8,
    },
    "arms": {"tuna": {"method": "tuna"}},
    "optimiser": {"learning_rate": 1e-4},
}


def all_methods(tiny):
    values = copy.deepcopy(tiny)
    values["name"] = "all-methods"
    values["student"]["scratch"]["context_length"] = 320
    values["source"] |= {"num_train": 36}
    values["order"] = {"strategy": "fo_similarity"}
    values["feedback"] = {"annotator": {"annotator": "rule"}, "balance": False}
    values["feedback_examples"] = {"max_length": 320}
    values["train"] |= {"steps": 4, "arms": ARMS, "overrides": {"laffi": {"lora": {"r": 4, "alpha": 8}}}}
    values["rounds"] = {"contextual": CONTEXTUAL}
    values["evaluate"] |= {"revise": True, "pairs": True}
    return values


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_hasse):
    command = make_hasse(tmp_path_factory.mktemp("methods"))
    command.write(all_methods(command.tiny))
    command.found = command.json("run", str(command.recipe))
    command.steps = {step["step"]: step for step in command.found["steps"]}
    return command


def artifact(command, step):
    return Store(command.store).resolve(command.steps[step]["ref"])


def test_every_arm_is_in_the_table_with_its_cost_and_drift(whole):
    rows = {row["arm"]: row for row in whole.found["results"] if row["decoding"] == "greedy"}
    assert set(rows) == {"student", "resample", *ARMS, "tuna"}
    assert rows["sft"]["sequences"] == 4 * 4
    assert rows["rescue"]["sequences"] > rows["dpo"]["sequences"] / 2 > rows["sft"]["sequences"]
    assert all(float(row["drift"]) for arm, row in rows.items() if arm in ("sft", "dpo", "rescue", "tuna"))
    assert {row["decoding"] for row in whole.found["results"]} == {"greedy", "sampled", "revised"}


def test_held_out_pairs_are_of_held_out_prompts_and_measured_for_every_model(whole):
    rows = [row for row in whole.found["results"] if row["decoding"] == "greedy"]
    assert all(0 <= row["pairs %"] <= 100 for row in rows if row["arm"] not in ("pit", "pit-stops"))
    held_out = {e.prompt_id for e in artifact(whole, "examples/held-out").records(TrainingExample)}
    trained = {e.prompt_id for e in artifact(whole, "examples").records(TrainingExample)}
    assert held_out
    assert not held_out & trained


def test_the_second_round_is_answered_by_the_first_rounds_model(whole):
    generated = artifact(whole, "generate/contextual/seed-0")
    assert generated.manifest.inputs["student"] == [whole.steps["train/tuna-p/seed-0"]["ref"]]
    assert artifact(whole, "train/tuna/seed-0").manifest.key["config"]["optimiser"]["learning_rate"] == 1e-4


def test_arms_of_pit_share_what_they_have_in_common(whole):
    for part in ("improver", "reward", "easy", "hard"):
        assert whole.steps[f"train/pit/seed-0/{part}"]["ref"] == whole.steps[f"train/pit-stops/seed-0/{part}"]["ref"]
    assert whole.steps["evaluate/pit/seed-0"]["ref"] != whole.steps["evaluate/pit-stops/seed-0"]["ref"]


def test_both_phases_of_rl_are_anchored_to_the_supervised_improver(whole):
    improver = whole.steps["train/pit/seed-0/improver"]["ref"]
    easy, hard = (artifact(whole, f"train/pit/seed-0/{part}").manifest.inputs for part in ("easy", "hard"))
    assert easy["anchor"] == hard["anchor"] == [improver]
    assert easy["student"] == [improver]
    assert hard["student"] == [whole.steps["train/pit/seed-0/easy"]["ref"]]
    assert hard["policy"] == [whole.steps["student"]["ref"]]


def test_the_folds_of_pit_share_no_prompt(whole):
    ids = [
        {e.prompt_id for e in artifact(whole, step).records(TrainingExample)}
        for step in ("improver_examples/pit/seed-0", "gap_examples/pit/seed-0")
    ]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]


def test_half_weight_becomes_a_number(whole):
    metrics = artifact(whole, "train/minor-sft/seed-0").manifest.metrics
    assert metrics["resolved"]["beta"] > 0
    assert metrics["final"]["weight"] > 0


def test_the_preview_shows_the_trained_segment(whole):
    rows = whole.json("preview", "feedback_examples", "--limit", "4")
    assert any(row["trained segment"].startswith("The answer is") for row in rows)
    assert all(row["trained segment"].endswith("</s>") for row in rows)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("trl-preference", {"prompt", "chosen", "rejected"}),
        ("trl-prompt-completion", {"prompt", "completion"}),
        ("ranked", {"prompt", "completions", "levels", "pairs"}),
        ("kto", {"prompt", "completion", "label"}),
    ],
)
def test_orders_are_exported_as_a_data_set_that_loads(whole, tmp_path, kind, columns):
    from datasets import load_dataset

    whole("export", whole.steps["order"]["ref"], "--format", kind, "--out", str(tmp_path / kind))
    loaded = load_dataset(str(tmp_path / kind), split="train", cache_dir=str(tmp_path / "cache"))
    assert set(loaded.column_names) == columns
    assert len(loaded) > 0
    assert kind in (tmp_path / kind / "README.md").read_text()


def test_answers_are_improved_from_a_file(whole, tmp_path):
    given, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text(
        '{"prompt": "premise: Ann is older than Bob.", "answer": "label: neutral"}\n{"prompt": "premise: x"}\n'
    )
    ref, reward = (whole.steps[f"train/pit/seed-0/{part}"]["ref"] for part in ("hard", "reward"))
    arguments = ["improve", ref, "--prompts", str(given), "--out", str(out), "--max-tokens", "6"]
    assert "is missing" in whole(*arguments, code=2)
    whole(*arguments, "--policy", "student", "--reward", reward, "--rounds", "2")
    first, second = map(json.loads, out.read_text().splitlines())
    assert first["answer"] == "label: neutral"
    assert {"improved", "gap", "rounds"} <= first.keys()
    assert second["answer"]


def test_a_queue_goes_out_and_comes_back(whole, tmp_path):
    queue, filled, out = (tmp_path / name for name in ("queue.jsonl", "filled.jsonl", "human.parquet"))
    whole("annotate", "export", str(whole.recipe), "--out", str(queue))
    lines = [json.loads(line) for line in queue.read_text().splitlines()]
    done = [
        {**line, "verdict": "wrong", "feedback": f"Say {line['right_answer']}.", "annotator": "ann"} for line in lines
    ]
    filled.write_text("".join(json.dumps(line) + "\n" for line in done))
    (found,) = whole.json("annotate", "import", str(filled), "--queue", str(queue), "--out", str(out))
    assert (found["feedback"], found["annotators"]) == (len(lines), 1)
    plan = whole.json(
        "run", str(whole.recipe), "--dry-run", "--set", f"feedback.human={out}", "--set", "feedback.human_share=1"
    )
    assert {s["action"] for s in plan if s["step"] in ("feedback", "train/laffi/seed-0")} == {"compute"}


def test_a_sweep_shares_what_it_can_and_ends_in_one_table(whole):
    settings = ["--set", "train.arms={sft: {method: sft}}", "--set", "rounds={}", "--set", "report.baselines=[student]"]
    settings += ["--set", "evaluate.num_samples=0", "--set", "train.overrides={}"]
    found = whole.json("sweep", str(whole.recipe), "--over", "order.strategy=hp,lp", "--seeds", "1", *settings)
    assert [(row["order.strategy"], row["arm"]) for row in found["results"] if row["decoding"] == "greedy"] == [
        ("hp", "student"), ("hp", "sft"), ("lp", "student"), ("lp", "sft"),
    ]  # fmt: skip
    page = (whole.store / "sweeps").glob("*.html")
    assert "<svg" in next(page).read_text()


@pytest.mark.slow
def test_each_method_resumes_after_a_kill_in_its_training(whole, tmp_path, make_hasse):
    command = make_hasse(tmp_path)
    command.write(all_methods(command.tiny))
    killed: set[str] = set()
    for _ in range(20):
        process = command.start("run", str(command.recipe))
        while process.poll() is None:
            inside = {
                path.parents[2].name
                for stage in ("train", "improve_rl")
                for path in command.store.glob(f"{stage}/.work-*/trainer/checkpoint-2/trainer_state.json")
            }
            if inside - killed:
                killed |= inside
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.005)
        process.communicate()
        if process.returncode == 0:
            break
    assert len(killed) >= 6
    command.steps = {step["step"]: step for step in command.json("run", str(command.recipe))["steps"]}
    for name in whole.steps:
        if name.startswith("train/"):
            curves = [list(artifact(c, name).records(CurvePoint)) for c in (command, whole)]
            assert curves[0] == curves[1], name
