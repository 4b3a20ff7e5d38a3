"""The sampler against vLLM itself, on the CPU; and what is said where there is none."""

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hasse.data.errors import ChildDied, InputError
from hasse.data.records import Candidate, Prompt
from hasse.stages.generate.samplers import diverse, vllm
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.teachers import logprob
from hasse.stages.models.adapters import write_base
from hasse.stages.models.load import load_model, save_adapter
from hasse.stages.models.vllm_engine import EngineSettings, Pool, close_pools, interpreter, pool, visible_gpus
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import sequence_logps
from hasse.stages.train.adapter import add_adapter
from hasse.stages.train.settings import LoraSettings

PYTHON = Path(os.environ.get("HASSE_VLLM_PYTHON", Path(__file__).parents[4] / ".venv-vllm/bin/python"))
with_vllm = pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM here; `make vllm` makes an environment for it")
ON_CPU = {"python": str(PYTHON), "dtype": "float32", "enforce_eager": True}


def prompt_of(text):
    return Prompt(prompt_id=f"p-{text}", text=text, source="s", cluster_id=text, split="train")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random Llama whose heads are wide enough for the CPU build, with a tokenizer of a token a letter."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *(chr(i) for i in range(ord("b"), ord("z"))), *"12345"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    network = LlamaForCausalLM(config).eval()
    folder = tmp_path_factory.mktemp("model")
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    checkpoint = SimpleNamespace(weights_digest="w", tokenizer_digest="t")
    yield SimpleNamespace(folder=folder, tokenizer=tokenizer, context=64, checkpoint=checkpoint, network=network)
    close_pools()


def members(session):
    """Processes of a session that still run."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True).stdout
    return {int(line.split()[0]) for line in listed.splitlines() if not line.split()[1].startswith("Z")}


def sampled(model, texts, **changes):
    settings = vllm.Settings(**{**ON_CPU, "num_samples": 4, "max_tokens": 12, "temperature": 1.0, **changes})
    return list(vllm.sample([prompt_of(text) for text in texts], settings, model))


@pytest.mark.slow
@with_vllm
def test_answers_are_the_models_own(model, make_example):
    texts = ["b c d", "e f", "g h k m n"]
    rows = sampled(model, texts)
    assert [[c.candidate_id for c in row] for row in rows] == [[f"student-{k}" for k in range(4)]] * 3
    candidates = [c for row in rows for c in row]
    assert {c.finish_reason for c in candidates} == {"stop", "length"}
    for c in candidates:
        assert (c.token_ids[-1] == 2) == (c.finish_reason == "stop") == (c.status == "ok")
        assert len(c.token_ids) == len(c.logprobs) <= 12
        assert c.text == model.tokenizer.decode(c.token_ids, skip_special_tokens=True)
    examples = [
        make_example(model.tokenizer(text).input_ids, [c.token_ids for c in row])
        for text, row in zip(texts, rows, strict=True)
    ]
    with torch.no_grad():
        sums = sequence_logps(model.network, collate(examples)).sum_N.tolist()
    for c, own in zip(candidates, sums, strict=True):
        assert abs(own - c.logprob_sum) / len(c.token_ids) < 1e-3
    assert sampled(model, texts) == rows
    assert sampled(model, texts[1:2])[0] == rows[1]
    assert len({c.token_ids for c in rows[0]}) > 1
    assert sampled(model, texts, seed=1) != rows


@pytest.mark.slow
@with_vllm
def test_what_sampling_can_be_asked_for(model):
    greedy = sampled(model, ["b c d"], temperature=0.0, num_samples=1)[0][0]
    ids = model.tokenizer("b c d").input_ids
    with torch.no_grad():
        logits = model.network(torch.tensor([[*ids, *greedy.token_ids]])).logits[0, len(ids) - 1 : -1]
    assert logits.argmax(-1).tolist() == list(greedy.token_ids)
    whole = max((c for c in sampled(model, ["e f"])[0]), key=lambda c: len(c.text))
    mark = whole.text.split()[3]
    (stopped,) = (c for c in sampled(model, ["e f"], stop=[mark])[0] if c.candidate_id == whole.candidate_id)
    assert mark not in stopped.text
    assert (stopped.finish_reason, stopped.token_ids, stopped.logprob_sum) == ("stop", (), None)
    many = sampled(model, [f"{'b c d ' * 12}{'e ' * (i % 9)}" for i in range(200)])  # more than goes into one step
    assert [len(row) for row in many] == [4] * 200
    (refused,) = sampled(model, ["b " * 60])[0]
    assert (refused.status, refused.error) == ("filtered", "the prompt has 60 tokens; 52 fit beside 12 new ones")


@pytest.mark.slow
@with_vllm
def test_adapters_are_served_by_one_engine_and_answer_as_they_do_here(model, tmp_path):
    pools, answers = [], []
    for number in (1, 2):
        adapted = add_adapter(load_model(model.folder), LoraSettings(r=4), number)
        with torch.no_grad():
            for name, p in adapted.named_parameters():
                if "lora" in name:
                    p.normal_(std=0.2)
        folder = tmp_path / f"adapter-{number}"
        save_adapter(folder, adapted, model.tokenizer, base=model.folder)
        write_base(folder, model.folder, digests={"weights": "w"}, store=tmp_path)
        served = SimpleNamespace(**{**vars(model), "folder": folder})
        (candidate,) = sampled(served, ["b c d"], temperature=0.0, num_samples=1)[0]
        ids = model.tokenizer("b c d").input_ids
        with torch.no_grad():
            logits = load_model(folder)(torch.tensor([[*ids, *candidate.token_ids]])).logits[0, len(ids) - 1 : -1]
        assert logits.argmax(-1).tolist() == list(candidate.token_ids)
        logprobs = logits.log_softmax(-1).max(-1).values.tolist()
        assert list(candidate.logprobs) == pytest.approx(logprobs, abs=1e-3)
        answers.append(candidate.token_ids)
        settings = EngineSettings(**ON_CPU)
        pools.append(pool(model.folder, settings, lora_rank=8))
    assert pools[0] is pools[1]
    assert answers[0] != answers[1]


@pytest.mark.slow
@with_vllm
def test_diverse_sets_come_from_the_engine_too(model):
    engine = EngineSettings(**ON_CPU)
    settings = diverse.Settings(num_samples=3, max_tokens=12, max_rouge=0.08, max_attempts=4, engine=engine)
    rows = list(diverse.sample([prompt_of(text) for text in ("b c d", "e f", "b " * 60)], settings, model))
    assert [len(row) for row in rows] == [3, 3, 1]
    assert rows[2][0].status == "filtered"
    attempts = [round((row[0].temperature - 1.0) / 0.1) for row in rows[:2]]
    for text, attempt, row in zip(("b c d", "e f"), attempts, rows[:2], strict=True):
        tries = [sampled(model, [text], temperature=1 + k * 0.1, seed=k, num_samples=3)[0] for k in range(4)]
        assert row == tries[attempt]
        found = [diverse.overlap([c.text for c in tried], 0.08) for tried in tries]
        passing = [k for k, (ok, _) in enumerate(found) if ok]
        assert attempt == (passing[0] if passing else min(range(4), key=lambda k: found[k][1]))
    assert max(attempts) > 0, "no set had to be sampled again: make the threshold lower"


@pytest.mark.slow
@with_vllm
def test_given_text_is_scored_as_by_the_training_stack(model):
    prompts = [prompt_of(text) for text in ("b c d", "e f", "g h k m n")]
    texts = ["e f", "b c d k", "g " * 40, "g " * 80]
    items = [
        (p, [Candidate(prompt_id=p.prompt_id, candidate_id=f"a-{i}", text=t, source="s") for i, t in enumerate(texts)])
        for p in prompts
    ]
    lazy = SimpleNamespace(**vars(model), loaded=SimpleNamespace(model=model.network))
    engine = {"engine": EngineSettings(**ON_CPU)}
    here, there = (list(logprob.judge(items, logprob.Settings(**s), TaskSettings(), lazy)) for s in ({}, engine))
    for ours, theirs in zip(here, there, strict=True):
        assert [j.status for j in ours] == [j.status for j in theirs] == ["ok", "ok", "ok", "filtered"]
        for a, b in zip(ours[:3], theirs[:3], strict=True):
            assert a.aspects[0].score == pytest.approx(b.aspects[0].score, abs=1e-3)


@pytest.mark.slow
@with_vllm
def test_an_engine_that_dies_says_so(model):
    pool = Pool(model.folder, EngineSettings(**ON_CPU))
    engine = pool.engines[0]
    future = engine.submit([([1, 5], {"n": 0})])
    with pytest.raises(InputError, match="vLLM refuses a request: n must be"):
        future.result()
    assert members(engine.process.pid) >= {engine.process.pid}
    engine.process.kill()
    engine.process.wait()
    end = time.monotonic() + 30
    while members(engine.process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert members(engine.process.pid) == set()
    with pytest.raises(ChildDied, match="the vLLM process ended with code -9"):
        engine.submit([([1, 5], {"max_tokens": 4})])
    broken = Pool(model.folder / "nowhere", EngineSettings(**ON_CPU))
    with pytest.raises(ChildDied, match=r"the vLLM process ended with code 1: .*Error"):
        broken.outputs([([1, 5], {"max_tokens": 4})])


def test_without_vllm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("HASSE_VLLM_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no interpreter with vLLM: `make vllm` makes one"):
        interpreter(EngineSettings())
    with pytest.raises(InputError, match="python '/nowhere' for vLLM does not exist"):
        interpreter(EngineSettings(python="/nowhere"))


def test_more_engines_than_gpus_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert visible_gpus() == ["0", "3"]
    with pytest.raises(InputError, match="2 engines of 2 GPUs each do not fit on 2 GPUs"):
        Pool(tmp_path, EngineSettings(engines=2, tensor_parallel=2))
