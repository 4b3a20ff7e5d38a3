"""Adapters as checkpoints: they are small, name their base, share it in memory, and say when it is missing."""

import json
import shutil
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM

from hasse.data.errors import InputError
from hasse.pipeline.fingerprint import model_digests
from hasse.stages.models.adapter_weights import same_weights
from hasse.stages.models.adapters import WEIGHTS, base_of, folder_digests, write_base
from hasse.stages.models.frozen_base import load_base
from hasse.stages.models.load import load_model, load_reward_model, load_tokenizer, save_adapter
from hasse.stages.models.merged import save_merged
from hasse.stages.models.model_folders import ADAPTER
from hasse.stages.models.sample import generate
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import sequence_logps, sequence_rewards
from hasse.stages.train.adapter import add_adapter, continue_adapter
from hasse.stages.train.settings import LoraSettings
from tests.scripted_model import save

IDS = torch.tensor([[4, 5, 6]])


@pytest.fixture
def store(tmp_path):
    """A store with a base in `student/b` and two adapters on it, in `train/one` and `train/two`."""
    base = tmp_path / "store/student/b/model"
    base.parent.mkdir(parents=True)
    save(base, ["yes", "no"])
    adapters = {}
    for number, name in enumerate(("one", "two")):
        model = noisy(add_adapter(load_model(base), LoraSettings(r=2), number), number)
        folder = tmp_path / "store/train" / name / "model"
        save_adapter(folder, model, load_tokenizer(base), base=base)
        write_base(folder, base, digests=model_digests(base), store=tmp_path / "store")
        adapters[name] = folder
    return SimpleNamespace(root=tmp_path / "store", base=base, **adapters)


def noisy(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora" in name:
                p.normal_()
    return model.eval()


def weights_of(model):
    """The places in memory of all weights but those of adapters."""
    return {p.data_ptr() for name, p in model.named_parameters() if "lora" not in name and "score" not in name}


def test_two_adapters_hold_their_base_once_and_answer_as_each_does_alone(store):
    base = load_model(store.base)
    one, two = (load_model(folder, beside=base) for folder in (store.one, store.two))
    assert weights_of(one) == weights_of(two) == weights_of(base)
    alone = [load_model(folder)(IDS).logits for folder in (store.base, store.one, store.two)]
    for _ in range(2):  # in turn, since one must not switch the other's adapter
        for model, expected in zip((base, one, two), alone, strict=True):
            torch.testing.assert_close(model(IDS).logits, expected)
    assert not torch.allclose(alone[1], alone[2], atol=1e-2)
    assert weights_of(load_model(store.two, beside=one)) == weights_of(base)
    with one.disable_adapter():
        torch.testing.assert_close(one(IDS).logits, alone[0])
    assert not weights_of(load_model(store.two, dtype=torch.bfloat16, beside=base)) & weights_of(base)


def test_a_reward_model_takes_over_the_layers_of_an_adapter_and_shares_its_base(store, make_example, tmp_path):
    settings = LoraSettings(r=2)
    reward = add_adapter(load_base(store.base, "auto", is_reward=True), settings, 0, is_reward=True)
    continue_adapter(reward, store.one)
    with torch.no_grad():
        reward.get_base_model().score.modules_to_save["default"].weight.normal_()
    folder = store.root / "train/reward/model"
    save_adapter(folder, reward, load_tokenizer(store.base), base=store.base)
    write_base(folder, store.base, digests=model_digests(store.base), store=store.root)
    batch = collate([make_example([4, 5], [[5, 6], [6]])])
    expected = sequence_rewards(reward.eval(), batch).reward_N
    assert expected.abs().min() > 0.1
    one = load_model(store.one)
    found = load_reward_model(folder, beside=one)
    assert weights_of(found) <= weights_of(one)
    torch.testing.assert_close(sequence_rewards(found, batch).reward_N, expected)
    torch.testing.assert_close(sequence_rewards(load_reward_model(folder), batch).reward_N, expected)
    hidden = one.get_base_model().model(IDS).last_hidden_state
    torch.testing.assert_close(found.get_base_model().model(IDS).last_hidden_state, hidden)


def test_an_adapter_is_known_by_its_own_weights_and_its_bases_wherever_these_lie(store, tmp_path):
    found = folder_digests(store.one)
    assert found.keys() == model_digests(store.base).keys()
    assert len({folder_digests(f)["weights"] for f in (store.base, store.one, store.two)}) == 3
    moved = tmp_path / "elsewhere"
    shutil.move(store.root, moved)
    folder = moved / "train/one/model"
    assert base_of(folder) == (moved / "student/b/model").resolve()
    assert folder_digests(folder) == found
    named = json.loads((folder / "base.json").read_text())
    (folder / "base.json").write_text(json.dumps({**named, "digests": {**named["digests"], "weights": "other"}}))
    assert folder_digests(folder)["weights"] != found["weights"]


def test_a_base_that_is_missing_or_has_changed_is_named_with_its_adapter(store, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(store.base, outside)
    write_base(store.two, outside, digests=model_digests(outside), store=store.root)
    assert base_of(store.two) == outside
    (outside / "model.safetensors").touch()
    assert base_of(store.two) == outside  # another time, the same content
    config = json.loads((outside / "config.json").read_text())
    (outside / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    (outside / "model.safetensors").touch()
    with pytest.raises(InputError, match=rf"{store.two} is an adapter on weights .*{outside} now holds others"):
        load_model(store.two)
    shutil.rmtree(store.base)
    with pytest.raises(InputError, match=rf"{store.one} is an adapter on student/b, which is missing"):
        load_model(store.one)


def test_an_adapter_is_continued_only_by_the_same_settings(store):
    model = add_adapter(load_model(store.base), LoraSettings(r=2), 5)
    continue_adapter(model, store.one)
    torch.testing.assert_close(model.eval()(IDS).logits, load_model(store.one)(IDS).logits)
    for changed in ({"r": 4}, {"r": 2, "alpha": 3.0}, {"r": 2, "target_modules": ["q_proj"]}):
        other = add_adapter(load_model(store.base), LoraSettings(**changed), 5)
        with pytest.raises(InputError, match=r"cannot be trained further by train.lora .*hasse export --merged"):
            continue_adapter(other, store.one)


def test_other_programs_find_the_base_of_an_adapter(store):
    from peft import AutoPeftModelForCausalLM

    assert {path.name for path in store.one.iterdir()} >= {WEIGHTS, ADAPTER, "base.json", "tokenizer.json"}
    model = AutoPeftModelForCausalLM.from_pretrained(store.one)
    torch.testing.assert_close(model(IDS).logits, load_model(store.one)(IDS).logits)


def test_a_base_of_4_bits_says_what_it_needs(store, monkeypatch):
    monkeypatch.setattr("hasse.stages.models.frozen_base.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"bitsandbytes; pip install 'hasse-llm\[4bit\]'"):
        load_base(store.base, "4bit")


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_an_adapter_is_trained_on_a_base_of_4_bits_and_answers_on_the_whole_one(tmp_path, make_example):
    folder = tmp_path / "model"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    base = load_base(folder, "4bit")
    assert base.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    model = add_adapter(base, LoraSettings(r=2), 0)
    twin = same_weights(model)
    assert weights_of(twin) == weights_of(model)
    with model.disable_adapter():
        torch.testing.assert_close(twin(IDS).logits, model(IDS).logits)
    before = {name: p.clone() for name, p in model.named_parameters()}
    batch = collate([make_example([4, 5], [[5, 6], [6]])])
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(4):
        loss = -sequence_logps(model, batch).sum_N.sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all("lora" in name for name in changed)
    reward = add_adapter(load_base(folder, "4bit", is_reward=True), LoraSettings(r=2), 0, is_reward=True)
    assert sequence_rewards(reward, batch).reward_N.shape == (2,)


def test_experts_and_their_routers_get_no_adapter():
    config = Qwen2MoeConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, moe_intermediate_size=8, num_hidden_layers=1,
        shared_expert_intermediate_size=8, num_attention_heads=2, num_key_value_heads=2, num_experts=4,
    )  # fmt: skip
    model = add_adapter(Qwen2MoeForCausalLM(config), LoraSettings(r=2), 0)
    adapted = {name.split(".lora_A")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_A" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert not [name for name, p in model.named_parameters() if p.requires_grad and ".experts." in name]
    assert all("shared_expert." in n for n, p in model.named_parameters() if "mlp" in n and p.requires_grad)


def test_answers_sampled_on_a_shared_base_are_those_of_the_merged_model(store, tmp_path):
    save_merged(store.one, tmp_path / "merged")
    tokenizer = load_tokenizer(store.one)
    two = load_model(store.two)
    prompts = [[4, 5, 6], [4, 5, 6], [5, 4]]  # equal prompts are computed once
    found = [
        generate(model, tokenizer, prompts, [1, 2, 3], temperature=1.0, top_p=1.0, max_tokens=6, batch_size=4)
        for model in (load_model(store.one, beside=two), load_model(tmp_path / "merged"), two)
    ]
    ids = [[sampled.token_ids for sampled in answers] for answers in found]
    assert ids[0] == ids[1] != ids[2]
    for one, merged in zip(found[0], found[1], strict=True):
        assert one.logprobs == pytest.approx(merged.logprobs, abs=1e-4)
