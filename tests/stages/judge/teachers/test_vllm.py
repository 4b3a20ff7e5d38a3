"""A judge in an engine of vLLM, on the CPU: replies that can only be JSON that fits."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hasse.data.errors import InputError
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.teachers import vllm
from hasse.stages.models.vllm_engine import pool
from tests.scripted_model import item

PYTHON = Path(os.environ.get("HASSE_VLLM_PYTHON", Path(__file__).parents[4] / ".venv-vllm/bin/python"))
ENGINE = {"python": str(PYTHON), "dtype": "float32", "enforce_eager": True}
ASPECTS = ({"name": "quality", "description": "How good it is."},)
TASK = TaskSettings()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that draws bytes at random, whatever it is asked, and quotes more often than others."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    shape = {"vocab_size": len(words), "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    config = LlamaConfig(
        **shape, num_attention_heads=2, max_position_embeddings=8192, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    network = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        network.model.embed_tokens.weight.zero_()[:, 0] = 1.0
        network.model.layers[0].self_attn.o_proj.weight.zero_()
        network.model.layers[0].mlp.down_proj.weight.zero_()
        network.lm_head.weight.zero_()[words.index('"'), 0] = 0.6  # times 8, the length of a normalised hidden state
    folder = tmp_path_factory.mktemp("model")
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    yield SimpleNamespace(folder=folder, tokenizer=tokenizer, context=8192)
    vllm.close()


def judged(model, items, *, repeat=0, **changes):
    settings = {"max_tokens": 1024, "temperature": 1.0, "aspects": ASPECTS, **ENGINE, **changes}
    return list(vllm.judge(items, vllm.Settings(**settings), TASK, model, repeat=repeat))


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM here; `make vllm` makes an environment for it")
def test_replies_are_held_to_the_schema_and_seeded_by_their_question(model):
    items = [item(f"{n}", "y", prompt_id=f"p{n}") for n in range(6)]
    found = judged(model, items)
    assert {(j.teacher, j.status, j.error) for row in found for j in row} == {("vllm", "ok", None)}
    scored = [p.total for row in found for j in row for p in j.presentations if p.total is not None]
    assert len(set(scored)) > 3
    assert all(1 <= total <= 10 for total in scored)
    assert judged(model, items[1:2]) == found[1:2]
    assert judged(model, items, repeat=1) != found
    (free, _) = judged(model, items[:1], structured="text")[0]
    assert free.status in ("truncated", "unparsable")
    (long, _) = judged(model, [item("x" * 8192, "y")])[0]
    assert long.status == "filtered"
    engine = pool(model.folder, vllm.Settings(**ENGINE))
    with pytest.raises(InputError, match="vLLM refuses a request"):
        engine.outputs([([1, 5], {"max_tokens": 4}), ([1, 5], {"max_tokens": 4, "json_schema": {"type": "nonsense"}})])
    assert judged(model, items[1:2]) == found[1:2]
