"""Training by several processes that accelerate starts: the model of one process, on one machine and on two."""

import copy
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from hasse.data.records import CurvePoint
from hasse.data.settings import key_of
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe
from hasse.pipeline.stage import Step
from hasse.pipeline.store import Store

ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": ""}
BEFORE = ("prompts", "student", "generate", "judge", "order", "examples")
SFT, RESCUE = "train/sft/seed-0", "train/rescue/seed-0"

SHARDED_ON_THE_CPU = """
import os

if "LOCAL_RANK" in os.environ and os.environ.get("ACCELERATE_USE_FSDP"):
    from accelerate import state

    begin = state.AcceleratorState.__init__

    def begin_as_on_gpus(self, *args, **kwargs):
        if not state.AcceleratorState._shared_state:
            state.PartialState(cpu=True)
            state.PartialState._shared_state["distributed_type"] = state.DistributedType.MULTI_GPU
        begin(self, *args, **kwargs)

    state.AcceleratorState.__init__ = begin_as_on_gpus
"""
"""A sitecustomize.py: accelerate shards on GPUs alone, though nothing of it needs one."""


@pytest.fixture
def prepared(finished, hasse):
    """A store that holds everything up to training, which is done by `train`."""
    for stage in BEFORE:
        shutil.copytree(finished.store / stage, hasse.store / stage)

    def train(*, steps=6, arms=("sft",), launch=None, **environment):
        """Write the recipe; gives the command and how to start it."""
        values = copy.deepcopy(hasse.tiny)
        values["train"] |= {
            "steps": steps,
            "save_steps": 20 if steps > 20 else 1,
            "arms": {arm: values["train"]["arms"][arm] for arm in arms},
        }
        values["report"]["baselines"] = ["student"]
        values["launch"] = launch or {}
        hasse.write(values)
        return ["run", str(hasse.recipe), "--only", "train"], {"env": {**ON_THE_CPU, **environment}}

    hasse.train = train
    return hasse


def rank_of_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def trained(command, name=SFT):
    """The curve, the weights and the metrics of the newest artifact of that step."""
    artifact = [a for a in Store(command.store).artifacts() if a.manifest.name == name][-1]
    points = {(p.step, p.metric): p.value for p in artifact.records(CurvePoint)}
    (weights,) = (artifact.path / "model").glob("*.safetensors")
    return points, load_file(weights), artifact.manifest


def same(found, expected) -> None:
    """Equal up to rounding."""
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    assert found[1].keys() == expected[1].keys()
    assert all(found[1][name].allclose(expected[1][name], atol=1e-5) for name in found[1])


def test_two_processes_train_what_one_does(prepared, finished):
    command, options = prepared.train(launch={"processes": 2})
    prepared(*command, **options)
    found, expected = trained(prepared), trained(finished)
    same(found, expected)
    assert found[2].fingerprint == expected[2].fingerprint
    assert found[2].metrics["launch"] == {"processes": 2, "machines": 1}
    assert "launch" not in expected[2].metrics
    assert [path.name.split(".")[0] for path in prepared.store.glob("train/*/*") if "launch" in path.name] == []


def living(command) -> list[int]:
    """Ids of the processes that were started for this store."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said, state = (folder / "cmdline").read_bytes(), (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if str(command.store).encode() in said and state != "Z":
            found.append(int(folder.name))
    return found


def kill_in_the_middle(command, arguments, options) -> None:
    process = command.start(*arguments, **options)
    end = time.monotonic() + 300
    while not list(command.store.glob("train/.work-*/trainer/checkpoint-20/trainer_state.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    while living(command):
        assert time.monotonic() < end
        time.sleep(0.1)


def first_steps(command) -> list[int]:
    """The first step of each log of training, one a start."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    logs = sorted(command.store.glob("train/*/logs/*"), key=lambda path: path.stat().st_mtime_ns)
    return [min(event.step for event in EventFileLoader(str(log)).Load() if event.step) for log in logs]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(prepared):
    command, options = prepared.train(steps=300, launch={"processes": 2})
    kill_in_the_middle(prepared, command, options)
    prepared.train(steps=300)
    prepared(*command, **options)
    resumed = trained(prepared)
    _, gone_on = first_steps(prepared)
    assert 20 < gone_on < 300
    shutil.rmtree(prepared.store / "train")
    prepared(*command, **options)
    same(resumed, trained(prepared))


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [None, {}], ids=["whole", "sharded"])
def test_killed_in_the_middle_and_run_again_it_equals_an_undisturbed_run(prepared, tmp_path, fsdp):
    (tmp_path / "sitecustomize.py").write_text(SHARDED_ON_THE_CPU)
    command, options = prepared.train(steps=300, launch={"processes": 2, "fsdp": fsdp}, PYTHONPATH=str(tmp_path))
    kill_in_the_middle(prepared, command, options)
    (checkpoint,) = prepared.store.glob("train/.work-*/trainer/checkpoint-20")
    assert bool(list(checkpoint.glob("pytorch_model_fsdp*"))) == (fsdp is not None)
    assert not list(prepared.store.glob("train/.work-*/trainer/checkpoint-300"))
    prepared(*command, **options)
    resumed = trained(prepared)
    begun, gone_on = first_steps(prepared)
    assert begun == 1
    assert 20 < gone_on < 300
    shutil.rmtree(prepared.store / "train")
    prepared(*command, **options)
    undisturbed = trained(prepared)
    assert resumed[0] == undisturbed[0]
    assert all(resumed[1][name].equal(undisturbed[1][name]) for name in resumed[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"passes": "two", "micro_batch_tokens": 200, "gradient_checkpointing": True},
        {"lora": {"r": 2, "alpha": 4.0}, "learning_rate": 0.01},
    ],
    ids=["two-passes", "adapter"],
)
def test_shards_train_what_one_process_does(prepared, tmp_path, changes):
    (tmp_path / "sitecustomize.py").write_text(SHARDED_ON_THE_CPU)
    found = []
    for launch in ({}, {"processes": 2, "fsdp": {}}):
        command, options = prepared.train(arms=("rescue",), launch=launch, PYTHONPATH=str(tmp_path))
        sets = [word for name, value in changes.items() for word in ("--set", f"train.{name}={yaml.safe_dump(value)}")]
        prepared(*command, *sets, **options)
        found.append(trained(prepared, RESCUE))
        shutil.rmtree(prepared.store / "train")
    same(found[1], found[0])


@pytest.mark.slow
def test_shards_without_a_gpu_are_refused(prepared):
    command, options = prepared.train(launch={"processes": 2, "fsdp": {}})
    assert "launch.fsdp: accelerate shards weights only over GPUs" in prepared(*command, code=2, **options)


@pytest.mark.slow
def test_two_machines_train_what_one_does(prepared, finished):
    prepared.train(arms=("sft", "rescue"), launch={"processes": 1})
    where = ["--machines", "2", "--main-address", "127.0.0.1", "--main-port", str(rank_of_free_port())]
    command = ["launch", str(prepared.recipe), *where]
    machines = [prepared.start(*command, "--machine-rank", rank, env=ON_THE_CPU) for rank in (1, 0)]
    said = [machine.communicate(timeout=400) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert said[0][0].count("joining") == 2
    assert "the run is done" in said[0][0]
    assert "accelerate launch --config_file" in said[0][1]
    for name in (SFT, RESCUE):
        same(trained(prepared, name), trained(finished, name))
        assert trained(prepared, name)[2].metrics["launch"] == {"processes": 1, "machines": 2}


@pytest.mark.slow
def test_a_machine_that_dies_ends_the_run(prepared):
    prepared.train(steps=100_000, launch={"processes": 1})
    where = ["--machines", "2", "--main-address", "127.0.0.1", "--main-port", str(rank_of_free_port())]
    command = ["launch", str(prepared.recipe), *where]
    other, main = (prepared.start(*command, "--machine-rank", rank, env=ON_THE_CPU) for rank in (1, 0))
    end = time.monotonic() + 300
    while not list(prepared.store.glob("train/.work-*/trainer/launch/progress.jsonl")):
        assert time.monotonic() < end
        assert (other.poll(), main.poll()) == (None, None)
        time.sleep(0.05)
    other.kill()
    other.communicate()
    _, error = main.communicate(timeout=120)
    assert main.returncode == 1
    assert "hasse: training process 0 failed" in error or "machine 1 has had no heartbeat" in error
    assert living(prepared) == []


def test_print_shows_the_command_and_runs_nothing(hasse):
    where = ["--machines", "2", "--main-address", "gpu-1", "--set", "launch.processes=2"]
    said = hasse("launch", str(hasse.recipe), *where, "--machine-rank", "1", "--print", env=ON_THE_CPU)
    lines = said.splitlines()
    assert lines[1].startswith("accelerate launch --config_file ")
    assert lines[1].endswith(
        "-m hasse.stages.train.distributed.worker " + str(hasse.store / "train/.work-KEY/trainer/launch/spec.json")
    )
    config = yaml.safe_load("\n".join(lines[3:]))
    assert (config["num_machines"], config["num_processes"], config["machine_rank"]) == (2, 4, 1)
    assert (config["main_process_ip"], config["main_process_port"]) == ("gpu-1", 29500)
    assert not hasse.store.exists()
    assert "needs no launcher" in hasse("launch", str(hasse.recipe), "--set", "launch.processes=1", "--print")


REFUSED = [
    (["launch", "--machines", "2"], "machines: 2 needs main_address"),
    (["launch", "--machine-rank", "1"], "--machine-rank 1: the 1 machines are numbered from 0"),
    (["run", "--set", "launch.processes=3"], "launch: 3 processes on 1 machine(s) cannot share 4 prompts evenly"),
    (["run", "--set", "launch.fsdp={}", "--set", "train.compile=true"], "train.compile and launch.fsdp do not go"),
    (["run", "--set", "launch={machines: 2, main_address: a}"], "launch.machines: 2; start `hasse launch` with this"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(given) for given, _ in REFUSED])
def test_what_cannot_be_launched_is_refused(hasse, arguments, message):
    assert message in hasse(arguments[0], str(hasse.recipe), *arguments[1:], code=2)


def test_where_training_runs_enters_no_key(hasse):
    def keys(*assignments) -> list[dict]:
        return [key_of(step.settings) for step in plan(load_recipe(str(hasse.recipe), list(assignments)))]

    there = ["launch={processes: 2, machines: 2, main_address: a}"]
    assert keys() == keys(*there)
    steps: list[Step] = plan(load_recipe(str(hasse.recipe), there))
    assert [step.settings.launch.machines for step in steps if step.name.startswith("train/")] == [2, 2]
