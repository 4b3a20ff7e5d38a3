"""Everything that a model folder names as the end of an answer ends it: sampled, trimmed, trained, and saved again."""

import copy
import json

import pytest
import torch
from transformers import GenerationConfig

from hasse.data.errors import InputError
from hasse.stages.generate.samplers import vllm
from hasse.stages.models.end_tokens import end_token_ids, trained_end_id
from hasse.stages.models.load import load_model, load_tokenizer, save_model
from hasse.stages.models.sample import generate
from hasse.stages.models.tokens import completion_token_ids
from tests.scripted_model import scripted
from tests.stages.tokenizers import chatml, gemma, llama


@pytest.fixture
def folder(tmp_path):
    """A model that says "yes", then an end of turn that is neither the config's nor the tokenizer's, then "no"."""
    model, tokenizer = scripted(["yes", "<turn>", "no"])
    words = tokenizer.get_vocab()
    with torch.no_grad():
        model.lm_head.weight.zero_()
        for before, after in (("<answer>", "yes"), ("yes", "<turn>"), ("<turn>", "no"), ("no", "no")):
            model.lm_head.weight[words[after], words[before]] = 50.0
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }} {{ '<turn>' if m['role'] == 'assistant' else '<answer>' }}"
        "{% if not loop.last %} {% endif %}{% endfor %}"
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def name_ends(folder, *, config=2, generation=None, tokenizer="</s>"):
    for name, value in (("config.json", config), ("generation_config.json", generation)):
        path = folder / name
        settings = json.loads(path.read_text())
        path.write_text(json.dumps({**settings, "eos_token_id": value}))
    path = folder / "tokenizer_config.json"
    settings = {**json.loads(path.read_text()), "eos_token": tokenizer}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))


def asked(folder, times=1):
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    prompt = tokenizer("<answer>", add_special_tokens=False).input_ids
    for _ in range(times):
        (found,) = generate(model, tokenizer, [prompt], [0], temperature=0.0, top_p=1.0, max_tokens=5, batch_size=1)
    return found, tokenizer


@pytest.mark.parametrize(
    "named",
    [{"generation": 6}, {"generation": [2, 6]}, {"config": [2, 6]}, {"config": 6}, {"tokenizer": "<turn>"},
     {"config": None, "generation": [6], "tokenizer": None}],
    ids=str,
)  # fmt: skip
def test_an_answer_ends_where_any_of_the_three_files_says(folder, named):
    name_ends(folder, **named)
    for times in (1, 2):  # the second call sees the model as the first has left it
        found, tokenizer = asked(folder, times)
        assert tokenizer.convert_ids_to_tokens(list(found.token_ids)) == ["yes", "<turn>"]
        assert (found.text, found.finish_reason) == ("yes", "stop")
    assert vllm.sampling(vllm.Settings(), 1, end_token_ids(tokenizer))["stop_token_ids"] == end_token_ids(tokenizer)
    answer = {"token_ids": list(found.token_ids), "logprobs": [0.0, 0.0], "stop_reason": 6, "finish_reason": "stop"}
    assert vllm._sampled(answer, [], tokenizer, end_token_ids(tokenizer)).text == "yes"


def test_an_end_that_no_file_names_does_not_end_an_answer(folder):
    name_ends(folder)
    found, _ = asked(folder)
    assert (found.text, found.finish_reason) == ("yes <turn> no no no", "length")


def test_the_end_that_is_trained_is_the_one_that_the_template_writes(folder):
    name_ends(folder, generation=[2, 6])
    tokenizer = load_tokenizer(folder)
    assert completion_token_ids(tokenizer, "yes") == [5, 6]
    assert completion_token_ids(tokenizer, "yes", ended=False) == [5]
    name_ends(folder)
    assert completion_token_ids(load_tokenizer(folder), "yes") == [5, 2]


@pytest.mark.parametrize(
    ("make", "ends", "trained"),
    [
        (llama, ["<|end_of_text|>", "<|eot_id|>"], "<|eot_id|>"),
        (gemma, ["<eos>", "<end_of_turn>"], "<end_of_turn>"),
        (chatml, ["<|endoftext|>", "<|im_end|>"], "<|im_end|>"),
        (llama, ["<|end_of_text|>"], "<|end_of_text|>"),
    ],
)
def test_published_models_are_trained_to_end_a_turn_as_their_template_does(make, ends, trained):
    tokenizer = make()
    tokenizer.ends_of_model = tokenizer.convert_tokens_to_ids(ends)
    assert tokenizer.convert_ids_to_tokens(trained_end_id(tokenizer)) == trained


def test_a_folder_without_any_end_is_refused(folder):
    name_ends(folder, config=None, generation=None, tokenizer=None)
    with pytest.raises(InputError, match=r"names no end-of-sequence token.*eos_token_id in its generation_config.json"):
        load_tokenizer(folder)


def test_a_checkpoint_has_the_ends_and_the_generation_settings_of_its_student(folder, tmp_path):
    name_ends(folder, config=[2, 6], generation=[6, 2])
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "temperature": 0.6, "do_sample": True, "top_k": 7}))
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    trained = copy.deepcopy(model)
    generate(trained, tokenizer, [[4]], [0], temperature=0.0, top_p=1.0, max_tokens=2, batch_size=1)
    trained.config.eos_token_id = 2
    trained.generation_config = GenerationConfig(eos_token_id=2)  # as trainers align them
    save_model(tmp_path / "saved", trained, tokenizer, like=folder)
    assert (tmp_path / "saved" / "generation_config.json").read_bytes() == path.read_bytes()
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["eos_token_id"] == [2, 6]
    assert asked(tmp_path / "saved")[0].text == "yes"
    assert model.generation_config.top_k == 7
