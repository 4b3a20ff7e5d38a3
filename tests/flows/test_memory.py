"""What a dry run says of memory, by configs alone: the recipes for 7B models fit a card of 24 GiB."""

import json
from pathlib import Path

import pytest

from hasse.flows.plan.memory import memory_of
from hasse.flows.recipe.recipe import load_recipe

QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "max_position_embeddings": 32768, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_14B = QWEN_7B | {
    "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48, "num_attention_heads": 40,
    "num_key_value_heads": 8,
}  # fmt: skip
CARD = 24 * 2**30

RECIPES = ("quickstart-gpu", "rescue-7b", "tuna-7b", "pit-7b", "laffi-7b", "minor-sft-7b")


@pytest.fixture
def configured(tmp_path):
    """A function that loads a recipe whose models are folders with nothing but a config."""

    def config(name, values):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(values))
        return str(folder)

    def load(recipe, *changes):
        given = load_recipe(recipe)
        models = [f"student.model={config('student', QWEN_7B)}"]
        if given.teacher is not None:
            quantised = {"quantization_config": {"quant_method": "awq", "bits": 4}}
            awq = quantised if "AWQ" in (given.teacher.model or "") else {}
            models.append(f"teacher.model={config('teacher', QWEN_14B | awq)}")
        return load_recipe(recipe, [*models, *changes])

    return load


@pytest.mark.parametrize("name", RECIPES)
def test_a_7b_recipe_fits_a_card_of_24_gib(configured, name):
    needs = memory_of(configured(name))
    trained = {need.step.split("/")[0] for need in needs}
    assert {"train", "evaluate"} <= trained
    assert {need.step: need.total for need in needs if need.total >= CARD} == {}
    assert all(need.total > 5 * 2**30 for need in needs)


def test_all_steps_are_there_and_all_weights_do_not_fit(configured):
    adapters = {need.step: need.total for need in memory_of(configured("pit-7b"))}
    assert {"train/pit/improver", "train/pit/reward", "train/pit/easy", "train/pit/hard", "evaluate"} <= set(adapters)
    whole = {need.step: need.total for need in memory_of(configured("pit-7b", "train.lora=null"))}
    assert whole["train/pit/improver"] > 110 * 2**30
    assert whole["train/pit/easy"] > whole["train/pit/improver"]
    four = {need.step: need.total for need in memory_of(configured("pit-7b", "train.lora.base=4bit"))}
    assert four["train/pit/easy"] < adapters["train/pit/easy"] - 7 * 2**30
    assert four["evaluate"] == adapters["evaluate"]


def test_a_dry_run_says_the_memory_without_weights_and_without_data(hasse, configured, tmp_path):
    recipe = configured("rescue-7b")
    changes = ["--set", f"student.model={recipe.student.model}", "--set", f"source.path={tmp_path / 'no.jsonl'}"]
    said = hasse("run", "rescue-7b", "--dry-run", *changes, code=2)
    assert "train/rescue" in said
    assert "Most memory, by the models' configs:" in said
    assert str(Path(recipe.student.model)) in said
