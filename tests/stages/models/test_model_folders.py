"""A folder that could not be used is refused before anything runs, with words; an adapter is merged into its base."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hasse.data.errors import InputError
from hasse.stages.models.load import check_vocabulary, load_model, load_tokenizer, save_model
from hasse.stages.models.merged import save_merged
from hasse.stages.student import stage as student
from hasse.stages.student.stage import StudentSettings
from hasse.stages.train.adapter import add_adapter
from hasse.stages.train.settings import LoraSettings
from tests.scripted_model import save


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "model", ["yes", "no"])


def edit(path, **changes):
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def keys(folder, **how):
    return student.external(StudentSettings(model=str(folder)), **how)


def sharded(folder):
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for name, own in parts.items():
        save_file({k: weights[k] for k in own}, folder / name, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {k: name for name, own in parts.items() for k in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def gguf(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "model-q4.gguf").write_bytes(b"GGUF")


def without_a_shard(folder):
    sharded(folder)
    (folder / "b.safetensors").unlink()


def cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def configured(**changes):
    return lambda folder: edit(folder / "config.json", **changes)


def written(name, text):
    return lambda folder: (folder / name).write_text(text)


def indexed(**values):
    return written("model.safetensors.index.json", json.dumps(values))


DEEP = "[" * 100_000
UNUSABLE = {
    "config nested deeply": (written("config.json", DEEP), "config.json is not a JSON file: it is nested too deeply"),
    "config of a list": (written("config.json", "[]"), r"config.json holds \[\] instead of a JSON object"),
    "type of a number": (configured(model_type=5), "has no model_type"),
    "architecture of a text": (configured(architectures="LlamaForCausalLM"), "instead of a list of names"),
    "architecture of numbers": (configured(architectures=[1]), "instead of a list of names"),
    "broken index": (written("model.safetensors.index.json", "{"), "index.json is not a JSON file"),
    "index without a map": (indexed(), "has no weight_map"),
    "empty map": (indexed(weight_map={}), "has no weight_map"),
    "map to numbers": (indexed(weight_map={"a": 5}), "has no weight_map"),
    "map to a pickle": (indexed(weight_map={"a": "a.bin"}), "'a.bin', which is no safetensors file of its own folder"),
    "map to another folder": (indexed(weight_map={"a": "../a.safetensors"}), "no safetensors file of its own folder"),
    "broken generation settings": (written("generation_config.json", "{"), "generation_config.json is not a JSON file"),
    "broken tokenizer settings": (written("tokenizer_config.json", DEEP), "tokenizer_config.json is not a JSON file"),
    "broken tokenizer": (written("tokenizer.json", "null"), "tokenizer.json holds None instead"),
    "end of a text": (written("generation_config.json", '{"eos_token_id": "</s>"}'), "eos_token_id is '</s>'"),
    "end of lists": (configured(eos_token_id=[[2]]), "eos_token_id is "),
    "end below zero": (configured(eos_token_id=-1), "eos_token_id is -1"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json; give the folder that model.save_pretra"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "config.json is not a JSON file"),
    "no type": (configured(model_type=None), "has no model_type"),
    "gguf": (gguf, "it holds a GGUF file, which cannot be trained"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "so no weights"),
    "pickle": (pickled, "pytorch_model.bin, a pickle, which can run code"),
    "missing shard": (without_a_shard, "b.safetensors is missing"),
    "cut off": (cut_off, "where its header says .*fetch it again"),
    "lfs pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs"),
        "is no safetensors file",
    ),
    "no tokenizer": (without_tokenizer, "has no tokenizer"),
    "encoder": (configured(architectures=["BertForMaskedLM"]), "BertForMaskedLM, which does not write text"),
    "classifier": (configured(architectures=["LlamaForSequenceClassification"]), "which does not write text"),
    "encoder-decoder": (configured(is_encoder_decoder=True), "encoder-decoder model"),
    "quantised": (configured(quantization_config={"quant_method": "gptq"}), r"quantised weights \(gptq\)"),
    "two at once": (lambda f: (f / "adapter_config.json").write_text("{}"), "a whole model and an adapter"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_folder_is_refused_when_a_run_is_planned(folder, kind):
    spoil, said = UNUSABLE[kind]
    spoil(folder)
    with pytest.raises(InputError, match=said):
        keys(folder)


def test_a_whole_folder_is_not_refused_whole_or_in_shards(folder):
    assert set(keys(folder)) == {"weights", "tokenizer", "template"}
    sharded(folder)
    keys(folder)
    assert load_model(folder).config.model_type == "llama"


def test_quantised_weights_may_be_asked(folder):
    configured(quantization_config={"quant_method": "awq"})(folder)
    assert keys(folder, is_trained=False)


def test_a_file_and_a_name_that_leads_nowhere_are_refused(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"is a file; a model is a folder with config.json"):
        keys(folder / "config.json")
    with pytest.raises(InputError, match=r"neither a local folder nor a model that the hub gave"):
        keys("nobody/nothing")


def test_code_of_a_models_own_is_not_run_and_not_asked_about(folder, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on standard input"))
    (folder / "modeling_own.py").write_text("raise SystemExit('ran')\n")
    names = {"AutoConfig": "modeling_own.Config", "AutoModelForCausalLM": "modeling_own.Model"}
    edit(folder / "config.json", auto_map=names, model_type="own")
    with pytest.raises(InputError, match=r"without code of the model's own, which is not run|can be loaded"):
        check_vocabulary(folder)
    with pytest.raises(InputError, match="holds no model that can be loaded"):
        load_model(folder)


def test_a_pickle_is_not_loaded(folder):
    pickled(folder)
    with pytest.raises(InputError, match="a pickle, which can run code"):
        load_model(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    check_vocabulary(folder)
    edit(folder / "config.json", vocab_size=3)
    with pytest.raises(InputError, match="has a token with the id 6, but the model has 3 embeddings"):
        check_vocabulary(folder)


@pytest.fixture
def adapter(folder, tmp_path):
    """An adapter with weights of its own on the model of `folder`."""
    torch.manual_seed(0)
    made = add_adapter(load_model(folder), LoraSettings(r=2), 0)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "lora" in name:
                p.normal_()
    made.peft_config["default"].base_model_name_or_path = str(folder)
    made.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", made.eval()


def test_an_adapter_is_merged_into_its_base(adapter, folder, tmp_path):
    where, made = adapter
    save_merged(where, tmp_path / "merged")
    ids = torch.tensor([[4, 5, 6]])
    found = load_model(tmp_path / "merged")(ids).logits
    torch.testing.assert_close(found, made(ids).logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, load_model(folder)(ids).logits, atol=1e-2)
    assert load_tokenizer(tmp_path / "merged").chat_template == load_tokenizer(folder).chat_template


def test_an_adapter_is_keyed_by_itself_and_by_its_base(adapter, folder):
    where, _ = adapter
    before = keys(where)
    assert "weights" not in before
    edit(where / "adapter_config.json", lora_alpha=7)
    changed = keys(where)
    assert {k for k in changed if changed[k] != before[k]} == {"adapter"}
    configured(rms_norm_eps=0.5)(folder)
    assert {k for k in changed if keys(where)[k] != changed[k]} == {"base weights"}


def test_an_adapters_own_tokens_make_the_embeddings_grow(adapter, folder, tmp_path):
    where, _ = adapter
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(where)
    save_merged(where, tmp_path / "merged")
    check_vocabulary(tmp_path / "merged")
    assert load_model(tmp_path / "merged").get_input_embeddings().num_embeddings == len(tokenizer)


BROKEN = {
    "a base of a number": ({"base_model_name_or_path": 5}, "names no base_model_name_or_path"),
    "a base of a long text": ({"base_model_name_or_path": "a" * 5000}, "neither a folder nor a hub name"),
    "another type": ({"peft_type": "PREFIX_TUNING"}, "of type PREFIX_TUNING; only LORA is supported"),
    "another task": ({"task_type": "SEQ_CLS"}, "an adapter for SEQ_CLS"),
    "no base": ({"base_model_name_or_path": None}, "names no base_model_name_or_path"),
    "a lost base": ({"base_model_name_or_path": "/nowhere/base"}, "is an adapter on '/nowhere/base'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_unusable_adapter_is_refused_when_a_run_is_planned(adapter, monkeypatch, kind):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    changes, said = BROKEN[kind]
    edit(adapter[0] / "adapter_config.json", **changes)
    with pytest.raises(InputError, match=said):
        keys(adapter[0])


def test_an_adapter_whose_base_is_unusable_or_pickled_is_refused(adapter, folder):
    where, _ = adapter
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="so no weights"):
        keys(where)
    (where / "adapter_model.safetensors").rename(where / "adapter_model.bin")
    with pytest.raises(InputError, match=r"has no adapter_model.safetensors"):
        keys(where)


def test_an_adapter_that_does_not_fit_its_base_is_an_error(adapter, folder, tmp_path, tiny_model):
    where, _ = adapter
    save_model(folder, tiny_model, load_tokenizer(folder))
    with pytest.raises(InputError, match="does not fit its base"):
        save_merged(where, tmp_path / "merged")


@pytest.mark.parametrize("changes", [{"ref": 5}, {"ref": ...}, {"digests": None}, {"digests": {}}, {"folder": None}])
def test_a_broken_record_of_the_base_is_named(adapter, folder, changes):
    where, _ = adapter
    values = {"digests": {"weights": "w"}, "ref": None, "folder": str(folder), "stamps": {}, **changes}
    (where / "base.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    with pytest.raises(InputError, match=r"base\.json does not tell the adapter's base"):
        keys(where)
