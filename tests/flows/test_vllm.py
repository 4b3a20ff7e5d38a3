"""A run whose candidates come from vLLM itself; and its checkpoint loads there, and answers as it does here."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from hasse.data.records import Candidate
from hasse.pipeline.store import Store
from hasse.stages.models.load import load_model, load_tokenizer

PYTHON = Path(os.environ.get("HASSE_VLLM_PYTHON", Path(__file__).parents[2] / ".venv-vllm/bin/python"))

SCRIPT = """
import json, sys
from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt

folder, prompts = sys.argv[1], json.loads(sys.argv[2])
engine = LLM(folder, enforce_eager=True, dtype="float32", max_model_len=160, seed=0)
how = SamplingParams(temperature=0, max_tokens=8, logprobs=0)
outputs = engine.generate([TokensPrompt(prompt_token_ids=ids) for ids in prompts], how)
chat = engine.get_tokenizer().apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
answers = [output.outputs[0] for output in outputs]
print("RESULT", json.dumps({
    "chat": chat,
    "answers": [list(a.token_ids) for a in answers],
    "logprobs": [[step[t].logprob for t, step in zip(a.token_ids, a.logprobs)] for a in answers],
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM here; `make vllm` makes an environment for it")
def test_candidates_come_from_vllm_and_a_checkpoint_answers_in_it_as_here(tmp_path, make_hasse):
    hasse = make_hasse(tmp_path)
    recipe = {**hasse.tiny}
    recipe["student"]["scratch"] |= {"hidden_size": 64, "num_heads": 2}
    engine = {"python": str(PYTHON), "dtype": "float32", "enforce_eager": True}
    group = {"sampler": "vllm", "num_samples": 2, "max_tokens": 8, **engine}
    recipe["generate"] = {"groups": [{"sampler": "dataset"}, group], "chunk_size": 8}
    hasse.write(recipe)
    found = hasse.json("run", str(hasse.recipe))
    (ref,) = (step["ref"] for step in found["steps"] if step["step"] == "generate")
    generated = Store(hasse.store).resolve(ref)
    parity = generated.manifest.metrics["parity"]["student"]
    assert parity["checked"] == min(64, sum(c.source == "student" for c in generated.records(Candidate)))
    assert parity["mean"] <= parity["max"] < 1e-3
    assert {c.status for c in generated.records(Candidate)} <= {"ok", "truncated"}
    wary = ["--set", f"generate.groups=[{{sampler: dataset}}, {json.dumps({**group, 'max_gap': 1e-12, 'seed': 1})}]"]
    assert "nats a token off those of the training stack" in hasse("run", str(hasse.recipe), *wary, code=1)
    (ref,) = (step["ref"] for step in found["steps"] if step["step"] == "train/rescue/seed-0")
    folder = Store(hasse.store).resolve(ref).path / "model"
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    prompts = [tokenizer(text).input_ids for text in ("Anna is taller than Ben.", "Who is it?", "Ben")]
    environment = {
        **os.environ,
        **{"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
    }
    done = subprocess.run(
        [str(PYTHON), "-c", SCRIPT, str(folder), json.dumps(prompts)], env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    said = json.loads(line.removeprefix("RESULT"))
    assert said["chat"] == tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    for prompt, answer, logprobs in zip(prompts, said["answers"], said["logprobs"], strict=True):
        ids = torch.tensor([[*prompt, *answer]])
        with torch.inference_mode():
            logp = model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        assert logp.argmax(-1).tolist() == answer
        assert logp.max(-1).values.tolist() == pytest.approx(logprobs, abs=1e-3)
