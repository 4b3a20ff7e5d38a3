"""What lies on the hub after a push is what the store holds, with a card that says where it comes from."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from hasse.data.errors import InputError
from hasse.data.records import Checkpoint
from hasse.flows.hub.contents import model_to_push
from hasse.flows.hub.origin import Origin, origin_of
from hasse.flows.hub.push import contents_of
from hasse.flows.run.references import find_artifact
from hasse.pipeline.store import Store
from hasse.stages.models.adapters import write_base
from tests.flows.hub_server import Hub

ADAPTER = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8}


@pytest.fixture
def hub(tmp_path):
    server = Hub(tmp_path / "hub")
    yield server
    server.close()


@pytest.fixture(scope="module")
def store(finished):
    return Store(finished.store)


def head(card: str) -> dict:
    return yaml.safe_load(card.split("---\n", 2)[1])


def pushed(store, name, tmp_path, repo="me/it", **how):
    return contents_of(store, find_artifact(store, name), repo, folder=tmp_path / "export", **how)


def test_a_model_on_the_hub_can_be_loaded_and_its_card_tells_how_good_it_is(finished, hub, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    step = "train/rescue/seed-0"
    printed = finished("push", step, "me/better", "--license", "apache-2.0", env=hub.environment())
    assert f"{hub.url}/models/me/better/commit/1" in printed
    assert hub.repositories == {"models/me/better": True}
    ((repository, message),) = hub.commits
    assert (repository, message) == ("models/me/better", f"{step} of {finished.steps[step]['ref']}")
    folder = hub.folder / repository
    card = (folder / "README.md").read_text()
    expected = {"library_name": "transformers", "pipeline_tag": "text-generation", "license": "apache-2.0"}
    assert expected.items() <= head(card).items()
    assert head(card)["tags"] == ["hasse", "rescue"]
    for part in ("method `rescue`", "Recipe `tiny`", "kind: entailment", "vllm serve me/better", "## Lineage"):
        assert part in card
    run = json.loads(next((finished.store / "runs").glob("*.json")).read_text())
    report = next(s["ref"] for s in run["steps"] if s["step"] == "report")
    results = Store(finished.store).artifact(report).manifest.metrics["results"]
    (row,) = [row for row in results if row["arm"] == "rescue" and row["decoding"] == "greedy"]
    assert f"| rescue | greedy | {row['accuracy %']} | {row['95 % interval']} |" in card
    assert "| sft |" not in card
    own = AutoModelForCausalLM.from_pretrained(finished.store / finished.steps[step]["ref"] / "model")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert all((a == b).all() for a, b in zip(own.parameters(), loaded.parameters(), strict=True))
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_tables_on_the_hub_are_read_by_datasets(finished, hub, tmp_path):
    from datasets import load_dataset

    finished("push", "generate", "me/answers", "--public", env=hub.environment())
    assert hub.repositories == {"datasets/me/answers": False}
    folder = hub.folder / "datasets/me/answers"
    rows = load_dataset(str(folder), "candidate", cache_dir=str(tmp_path / "cache"))["train"]
    artifact = find_artifact(Store(finished.store), "generate")
    assert rows.num_rows == sum(artifact.manifest.counts["candidate"].values())
    assert {"prompt_id", "candidate_id", "text"} <= set(rows.column_names)
    # Nobody's private rows go to a repository that others can read unless that is said.
    refused = finished("push", "judge", "me/answers", env=hub.environment(), code=2)
    assert "me/answers exists and is public" in refused
    assert len(hub.commits) == 1


def test_a_dry_run_needs_no_token_and_shows_files_and_card(finished):
    printed = finished("push", "order", "me/orders", "--dry-run", env={"HF_TOKEN": ""})
    assert "dataset me/orders, private:" in printed
    assert "bytes  partial_order.parquet" in printed
    assert "# orders" in printed


def test_what_the_hub_refuses_is_an_error(finished, hub):
    assert "the hub did not take me/x: " in finished("push", "order", "me/x", env=hub.environment("wrong"), code=1)
    home = {"HF_TOKEN": "", "HF_TOKEN_PATH": str(hub.folder / "none")}
    assert "set HF_TOKEN" in finished("push", "order", "me/x", env=hub.environment() | home, code=2)
    assert hub.commits == []


def test_orders_can_be_pushed_in_a_format_of_the_export(store, tmp_path):
    contents = pushed(store, "order", tmp_path, kind="trl-preference", licence="mit")
    assert list(contents.sizes()) == ["README.md", "data/train.parquet"]
    assert head(contents.card)["license"] == "mit"
    assert head(contents.card)["configs"][0]["data_files"][0]["path"] == "data/train.parquet"
    assert "in the format `trl-preference`" in contents.card
    assert "Recipe `tiny`" in contents.card
    with pytest.raises(InputError, match="no artifact of the stage order"):
        pushed(store, "judge", tmp_path, kind="trl-preference")
    with pytest.raises(InputError, match="did you mean"):
        pushed(store, "order", tmp_path, kind="trl-preferences")


def test_what_has_nothing_to_push_is_refused(store, tmp_path):
    with pytest.raises(InputError, match="neither a model nor tables"):
        pushed(store, "report", tmp_path)
    with pytest.raises(InputError, match="no name of a repository"):
        pushed(store, "order", tmp_path, repo="me/my/it")


def test_an_artifact_without_a_run_has_no_card(store, finished, tmp_path):
    alone = tmp_path / "alone"
    ref = finished.steps["order"]["ref"]
    shutil.copytree(finished.store / ref, alone / ref)
    with pytest.raises(InputError, match="its recipe is unknown"):
        origin_of(Store(alone), Store(alone).artifact(ref))


def model_of(folder, files, **row):
    """An artifact of a checkpoint whose model is these files."""
    (folder / "model").mkdir(parents=True)
    for name, content in files.items():
        (folder / "model" / name).write_text(content)
    values = {"name": "train/sft/seed-0", "method": "sft", "seed": 0, "num_steps": 3}
    digests = {"weights_digest": "w", "tokenizer_digest": "t", "template_digest": "c"}
    checkpoint = Checkpoint(**{**values, **digests, **row})
    return SimpleNamespace(
        ref="train/1",
        path=folder,
        manifest=SimpleNamespace(files={f"model/{name}": None for name in files}),
        records=lambda record: [checkpoint],
        file=lambda name: folder / name,
    )


ORIGIN = Origin(run_id="r", recipe={"name": "r", "student": {"model": "org/base"}, "source": {"kind": "jsonl"}})


def test_an_adapter_names_its_base_on_the_hub(tmp_path):
    from hasse.flows.hub.cards import model_card

    artifact = model_of(tmp_path / "a", {"adapter_config.json": json.dumps(ADAPTER), "adapter_model.safetensors": "x"})
    (tmp_path / "base").mkdir()
    (tmp_path / "base/model.safetensors").write_text("x")
    digests = {"weights": "w", "tokenizer": "t", "template": "c"}
    write_base(tmp_path / "a/model", tmp_path / "base", digests=digests, store=tmp_path / "store")
    with pytest.raises(InputError, match="give its name by --base-model"):
        model_to_push(artifact, ORIGIN, base=None)
    model = model_to_push(artifact, ORIGIN, base="org/base")
    assert sorted(model.contents.files) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads(model.contents.files["adapter_config.json"])
    assert config == {**ADAPTER, "base_model_name_or_path": "org/base", "revision": None}
    card = model_card(model, ORIGIN, "me/it", licence=None)
    values = {"library_name": "peft", "base_model": "org/base", "base_model_relation": "adapter"}
    assert values.items() <= head(card).items()
    assert "vllm serve org/base --enable-lora --max-lora-rank 8 --lora-modules it=me/it" in card
    assert "AutoPeftModelForCausalLM" in card
    assert "The run has no evaluation" in card


def test_the_base_of_a_model_is_the_student_of_the_recipe(tmp_path):
    config = json.dumps({"architectures": ["LlamaForCausalLM"]})
    artifact = model_of(tmp_path / "a", {"config.json": config})
    assert model_to_push(artifact, ORIGIN, base=None).base == "org/base"
    local = replace(ORIGIN, recipe={**ORIGIN.recipe, "student": {"model": str(tmp_path)}})
    assert model_to_push(artifact, local, base=None).base is None
    reward = json.dumps({"architectures": ["LlamaForSequenceClassification"]})
    assert model_to_push(model_of(tmp_path / "b", {"config.json": reward}), ORIGIN, base=None).is_reward
    given = model_of(tmp_path / "c", {"config.json": config}, location="/models/theirs")
    with pytest.raises(InputError, match="is the model in /models/theirs as it was given"):
        model_to_push(given, ORIGIN, base=None)
