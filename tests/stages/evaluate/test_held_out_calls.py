"""Every stage that trains or scores proves first that the two sides share nothing."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hasse.data.errors import InputError
from hasse.data.records import Completion, Prompt, TrainingExample
from hasse.stages.evaluate import questions
from hasse.stages.pit import rl as improve_rl
from hasse.stages.train import stage as train
from hasse.stages.train.methods import sft

TRAINED = Prompt(prompt_id="a", text="one", cluster_id="a", source="s", split="train")
HELD_OUT = Prompt(prompt_id="b", text="two", cluster_id="b", source="s", split="test")
LEAK = replace(HELD_OUT, cluster_id=TRAINED.cluster_id)
EXAMPLE = TrainingExample(
    prompt_id="a",
    cluster_id="a",
    prompt_token_ids=(1,),
    completions=(Completion(candidate_id="human-0", token_ids=(2,), source="human"),),
    target=0,
)


def job(tmp_path, held_out, **inputs):
    given = {"prompts": [TRAINED, held_out], "examples": [EXAMPLE], **inputs}
    artifacts = {n: SimpleNamespace(records=lambda record, rows=rows, **_: iter(rows)) for n, rows in given.items()}
    return SimpleNamespace(
        name="step", path=tmp_path, input=artifacts.get, inputs={n: [artifacts[n]] for n in artifacts}, settings=None
    )


def test_training_begins_with_the_proof(tmp_path):
    with pytest.raises(InputError, match="held-out prompt b shares its near-duplicate cluster"):
        train.select(job(tmp_path, LEAK), sft, sft.Settings())
    assert train.select(job(tmp_path, HELD_OUT), sft, sft.Settings())[1]["used"] == 1


def test_evaluation_begins_with_the_proof(tmp_path):
    settings = SimpleNamespace(split="test", limit=None)
    with pytest.raises(InputError, match="held-out prompt b shares its near-duplicate cluster"):
        questions.held_out(job(tmp_path, LEAK), settings)  # type: ignore[arg-type]
    assert questions.held_out(job(tmp_path, HELD_OUT), settings) == [HELD_OUT]  # type: ignore[arg-type]


def test_reinforcement_begins_with_the_proof(tmp_path, monkeypatch):
    monkeypatch.setattr(improve_rl, "load_tokenizer_of", lambda artifact: None)
    monkeypatch.setattr(improve_rl, "model_folder", lambda artifact: tmp_path)
    with pytest.raises(InputError, match="held-out prompt b shares its near-duplicate cluster"):
        improve_rl.run(job(tmp_path, LEAK))  # type: ignore[arg-type]
