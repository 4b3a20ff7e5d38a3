"""The memory of a model by its config, against published numbers and against the probe that is made before training."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hasse.stages.models.footprint import HALF, SINGLE, shape_of
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import outputs_of, prepared
from hasse.stages.train.adapter import add_adapter
from hasse.stages.train.memory import activation_bytes, set_checkpointing
from hasse.stages.train.settings import LoraSettings

QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "max_position_embeddings": 32768, "tie_word_embeddings": False,
}  # fmt: skip


def test_the_numbers_of_a_7b_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
    shape = shape_of(tmp_path)
    assert shape.parameters == 7_615_616_512  # as published
    assert shape.weights() == 2 * shape.parameters
    assert shape.weights(4.127) == pytest.approx(5.5e9, rel=0.05)
    per_layer = 16 * (2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944))
    assert shape.adapter(16) == 28 * per_layer
    assert shape.adapter(16, ["q_proj"]) == 28 * 16 * 7168
    assert shape.cache(1) == 2 * 28 * 4 * 128 * HALF


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_near_those_that_the_probe_finds(tmp_path, make_example, checkpointing):
    config = LlamaConfig(
        vocab_size=64, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(tmp_path)
    model = add_adapter(LlamaForCausalLM(config), LoraSettings(r=8), 0).train()
    set_checkpointing(model, checkpointing)
    ids = torch.randint(64, (256,)).tolist()
    batch = collate([make_example(ids[:128], [ids[128:]])])
    with prepared(model, "packed"):
        found = activation_bytes(lambda: outputs_of(model, batch, "packed", is_reward=False), model)
    shape = shape_of(tmp_path)

    def kept(tokens, on):
        return shape.activations(tokens, checkpointing=on, element=SINGLE) - shape.activations(0, checkpointing=on)

    said = kept(256, checkpointing)
    if checkpointing:  # the probe sees what is kept, and not the layer that is computed again
        said -= kept(256, False) // shape.layers
    assert 0.7 * found < said < 1.6 * found
