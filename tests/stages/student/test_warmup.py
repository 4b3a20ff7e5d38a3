"""The warm-up: a given model is fine-tuned on answers of the split pretrain before it samples."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from hasse.data.errors import InputError
from hasse.data.parquet import read_records
from hasse.data.records import Checkpoint, CurvePoint, Prompt
from hasse.pipeline.stage import Job
from hasse.pipeline.store import Store
from hasse.stages.models.checkpoints import identity, load_tokenizer_of, publish_model
from hasse.stages.models.load import load_model, save_model
from hasse.stages.models.tokens import asked_token_ids
from hasse.stages.student import stage as student
from hasse.stages.student.stage import StudentSettings

ASKED = [
    Prompt(prompt_id=f"p{i}", text="b c", reference="d e", source="s", cluster_id=f"p{i}", split=split)
    for i, split in enumerate(("pretrain", "pretrain", "train", "pretrain"))
]


@pytest.fixture
def given(tmp_path, tiny_model, tiny_tokenizer):
    tiny_model.resize_token_embeddings(len(tiny_tokenizer))
    save_model(tmp_path / "given", tiny_model, tiny_tokenizer)
    return tmp_path / "given"


def job(folder, **warmup):
    tmp_path = folder.parent
    warmup = {"num_examples": 2, "optimiser": {"epochs": 40, "prompts_per_step": 2, "learning_rate": 0.02}, **warmup}
    settings = StudentSettings(model=str(folder), warmup=warmup)  # type: ignore[arg-type]
    asked = SimpleNamespace(ref="prompts/x", records=lambda record: iter(ASKED))
    path = tmp_path / "job"
    path.mkdir()
    inputs = {"prompts": [asked]}
    return Job("student", settings, inputs, path, Store(tmp_path / "store"), progress=lambda *_: None, code="0" * 24)  # type: ignore[arg-type]


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}])
def test_the_warm_model_has_learned_the_answers_and_is_a_whole_model(given, lora):
    made = job(given, lora=lora)
    student.run(made)
    losses = [p.value for p in read_records(made.path / "curve_point.parquet", CurvePoint) if p.metric == "loss"]
    assert losses[-1] < losses[0]
    assert made.metrics["examples"] == {"used": 2, "too_long": 0}
    (row,) = read_records(made.path / "checkpoint.parquet", Checkpoint)
    assert (row.method, row.location) == ("warmup", None)
    warm, cold = load_model(made.path / "model"), load_model(given)
    assert {name for name, _ in warm.named_parameters()} == {name for name, _ in cold.named_parameters()}
    assert any(not torch.equal(a, b) for a, b in zip(warm.parameters(), cold.parameters(), strict=True))


def test_too_few_answers_name_the_setting(given):
    with pytest.raises(InputError, match="4 answers are wanted, but the split 'pretrain' has 3"):
        student.run(job(given, num_examples=4))


def test_a_student_from_scratch_takes_no_warmup():
    with pytest.raises(ValueError, match="trained on the split pretrain already"):
        StudentSettings(scratch={}, warmup={})  # type: ignore[arg-type]


def test_template_options_enter_the_identity_of_the_model_and_of_those_trained_from_it(given, tiny_tokenizer):
    tiny_tokenizer.chat_template = "{{ messages[0].content }}{{ ' b' if fast }}"
    tiny_tokenizer.save_pretrained(given)
    made = job(given)
    plain = StudentSettings(model=str(given))
    fast = StudentSettings(model=str(given), chat_template_kwargs={"fast": True}, date="2030-01-02")
    found = []
    for settings in (plain, fast):
        made = replace(made, settings=settings)
        student.run(made)
        found.append(identity(made.path))
    assert "options" not in found[0]
    assert found[1] == {**found[0], "options": '{"date": "2030-01-02", "kwargs": {"fast": true}}'}
    (base,) = read_records(made.path / "checkpoint.parquet", Checkpoint)
    artifact = SimpleNamespace(records=lambda record: iter([base]))
    tokenizer = load_tokenizer_of(artifact)  # type: ignore[arg-type]
    assert tokenizer.decode(asked_token_ids(tokenizer, ASKED[0])) == "b c b"
    save_model(made.path / "model", load_model(given), tiny_tokenizer)
    publish_model(made, method="sft", seed=0, num_steps=1, base=base)
    assert identity(made.path)["options"] == found[1]["options"]
