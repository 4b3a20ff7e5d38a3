"""A run that was stopped and resumed is the undisturbed one, also where steps draw random numbers."""

import copy
import shutil
from dataclasses import replace
from zipfile import ZipFile

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, OPTConfig, OPTForCausalLM

from hasse.stages.models.load import has_dropout, set_dropout
from hasse.stages.train.adapter import add_adapter
from hasse.stages.train.fit import fit
from hasse.stages.train.methods import dpo, gap_reward, rescue, sft
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.passes import Plan, make_plan
from hasse.stages.train.settings import LoraSettings, TrainSettings
from hasse.stages.train.throughput import measured_peak
from hasse.stages.train.whole_checkpoints import last_checkpoint

STOPPED_AFTER = 5
"""In the second epoch, behind the checkpoint of step 4."""


class Interrupted(Exception):
    pass


@pytest.fixture
def examples(make_example):
    def example(i):
        completions = [[5 + i, 2], [9, 9, 2], [10, 2], [11 + i, 12, 2]]
        made = make_example([1, 4 + i], completions, pairs=[(0, 1), (2, 1)], target=0, prompt_id=f"p{i}")
        return replace(made, reference_logps=(-6.0, -9.0, -6.5, -9.5))

    return [example(i) for i in range(12)]


def train(model, examples, folder, *, method=rescue, stop_after=None, told=None, **changes):
    """(step, metric) -> value of every logged number."""

    def on_step(step, total):
        if told is not None:
            told.append(step)
        if step == stop_after:
            raise Interrupted

    settings = OptimiserSettings(
        **{"steps": 6, "prompts_per_step": 4, "learning_rate": 1e-2, "save_steps": 2, "dropout": 0.2, **changes}
    )
    prepared = [method.prepare(example, method.Settings()) for example in examples]
    points, _ = fit(
        model,
        prepared,
        method=method,
        method_settings=method.Settings(),
        settings=settings,
        seed=3,
        folder=folder,
        on_step=on_step,
    )
    return {(p.step, p.metric): p.value for p in points}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def reward_model(model):
    torch.manual_seed(1)
    return LlamaForSequenceClassification(LlamaConfig(**{**model.config.to_dict(), "num_labels": 1}))


def plain(model, method):
    made = reward_model(model) if method is gap_reward else copy.deepcopy(model)
    set_dropout(made, 0.2)
    return made


def with_lora(model, method):
    made = copy.deepcopy(model)
    set_dropout(made, 0.0)
    return add_adapter(made, LoraSettings(r=4, dropout=0.3), 3)


@pytest.mark.parametrize(
    ("method", "build"),
    [(sft, plain), (rescue, plain), (dpo, plain), (gap_reward, plain), (sft, with_lora), (rescue, with_lora)],
    ids=["sft", "rescue", "dpo", "gap_reward", "sft-lora", "rescue-lora"],
)
def test_with_dropout_a_resumed_run_equals_the_undisturbed_one(tiny_model, examples, tmp_path, method, build):
    changes = {"method": method, "dropout": 0.0 if build is with_lora else 0.2}
    whole, parts, resumed = (build(tiny_model, method) for _ in range(3))
    expected = train(whole, examples, tmp_path / "whole", **changes)
    with pytest.raises(Interrupted):
        train(parts, examples, tmp_path / "parts", stop_after=STOPPED_AFTER, **changes)
    torch.manual_seed(99)  # another process begins elsewhere in its streams
    steps = []
    found = train(resumed, examples, tmp_path / "parts", told=steps, **changes)
    assert steps == [5, 6]
    assert found == expected
    assert torch.equal(weights(whole), weights(resumed))


def test_dropout_makes_a_difference_to_these_runs(tiny_model, examples, tmp_path):
    with_dropout = train(plain(tiny_model, sft), examples, tmp_path / "a", method=sft)
    without = copy.deepcopy(tiny_model)
    assert train(without, examples, tmp_path / "b", method=sft, dropout=0.0) != with_dropout


def test_measuring_the_device_draws_no_random_number():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measured_peak(size=8, repeats=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("state", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"])
def test_a_checkpoint_without_a_state_is_passed_over(tiny_model, examples, tmp_path, state):
    with pytest.raises(Interrupted):
        train(plain(tiny_model, sft), examples, tmp_path, method=sft, stop_after=STOPPED_AFTER)
    assert str(last_checkpoint(tmp_path)).endswith("checkpoint-4")
    (tmp_path / "checkpoint-4" / state).unlink()
    assert str(last_checkpoint(tmp_path)).endswith("checkpoint-2")


WAYS = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "list": lambda path: path.write_text("[]"),
    "folder": lambda path: (path.unlink(), (path / "inside").mkdir(parents=True)),
}
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "config.json")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a training that was stopped after its checkpoint of step 4; its log when it was not."""
    return tmp_path_factory.mktemp("stopped"), tmp_path_factory.mktemp("undisturbed"), {}


@pytest.fixture
def stopped_copy(stopped, tiny_model, examples, tmp_path):
    """(a copy of the folder, the log of the undisturbed run)"""
    parts, whole, expected = stopped
    if not expected:
        expected |= train(plain(tiny_model, sft), examples, whole, method=sft)
        with pytest.raises(Interrupted):
            train(plain(tiny_model, sft), examples, parts, method=sft, stop_after=STOPPED_AFTER)
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    return tmp_path, expected


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_checkpoint_is_passed_over_and_said(stopped_copy, way, name, caplog):
    folder, _ = stopped_copy
    assert str(last_checkpoint(folder)).endswith("checkpoint-4")
    assert not caplog.text
    WAYS[way](folder / "checkpoint-4" / name)
    assert str(last_checkpoint(folder)).endswith("checkpoint-2")
    assert f"{folder}/checkpoint-4 is not whole: " in caplog.text
    assert not (folder / "checkpoint-4").exists()  # so that it can be written once more


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_flipped_byte_of_a_state_is_noticed(stopped_copy, name):
    path = stopped_copy[0] / "checkpoint-4" / name
    content = bytearray(path.read_bytes())
    with ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    at = content.index(archive_data(path, largest))
    content[at + largest.file_size // 2] ^= 1
    path.write_bytes(content)
    assert str(last_checkpoint(stopped_copy[0])).endswith("checkpoint-2")


def archive_data(path, entry):
    with ZipFile(path) as archive:
        return archive.read(entry)


@pytest.mark.parametrize("damaged", [("checkpoint-4",), ("checkpoint-2", "checkpoint-4")])
def test_training_goes_on_past_damaged_checkpoints_to_the_same_model(stopped_copy, tiny_model, examples, damaged):
    folder, expected = stopped_copy
    for name in damaged:
        WAYS["folder"](folder / name / "trainer_state.json")
    WAYS["list"](folder / "plan.json")
    steps = []
    assert train(plain(tiny_model, sft), examples, folder, method=sft, told=steps) == expected
    assert steps[0] == (1 if len(damaged) == 2 else 3)


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_plan_is_said_and_made_anew(stopped_copy, way, caplog):
    folder, _ = stopped_copy
    kept = Plan.read(folder)
    assert kept is not None
    WAYS[way](folder / "plan.json")
    assert Plan.read(folder) is None
    assert f"{folder}/plan.json cannot be read" in caplog.text
    kept.write(folder)
    assert Plan.read(folder) == kept


def test_a_model_with_dropout_takes_one_pass(tiny_model, examples):
    settings = OptimiserSettings(micro_batch_tokens=9)
    assert make_plan(with_lora(tiny_model, rescue), examples, settings, is_reward=False).passes == "one"
    assert make_plan(plain(tiny_model, rescue), examples, settings, is_reward=False).passes == "one"
    still = copy.deepcopy(tiny_model)
    set_dropout(still, 0.0)
    assert make_plan(still, examples, settings, is_reward=False).passes == "auto"


def test_two_passes_with_an_adapters_dropout_are_refused():
    values = {"method": {"method": "sft"}, "seed": 0, "lora": {"dropout": 0.1}, "optimiser": {"passes": "two"}}
    with pytest.raises(ValueError, match=r"lora.dropout 0.1 would make the scores differ; set lora.dropout: 0"):
        TrainSettings.model_validate(values)
    TrainSettings.model_validate({**values, "lora": {}})


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_dropout_is_set_wherever_an_architecture_keeps_it(rate):
    """OPT keeps its rates as numbers in each layer, and leaves out whole layers at random."""
    opt = {"vocab_size": 32, "hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    rates = {"dropout": 0.2, "attention_dropout": 0.2, "layerdrop": 0.9, "word_embed_proj_dim": 16}
    model = OPTForCausalLM(OPTConfig(**opt, **rates, pad_token_id=0)).train()
    set_dropout(model, rate)
    assert has_dropout(model) == (rate > 0)
    ids = torch.tensor([[3, 4, 5, 6]])
    assert torch.equal(model(ids).logits, model(ids).logits) == (rate == 0)
    assert model.model.decoder.layerdrop == 0.0
