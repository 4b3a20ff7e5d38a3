"""vLLM's OpenAI-compatible server as the endpoint of candidates and of judgements, on loopback."""

import contextlib
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from hasse.data.records import Candidate, Judgement
from hasse.pipeline.store import Store
from hasse.stages.models.vllm_engine import ENVIRONMENT

PYTHON = Path(os.environ.get("HASSE_VLLM_PYTHON", Path(__file__).parents[2] / ".venv-vllm/bin/python"))
CONTEXT = 4096


@contextlib.contextmanager
def served(model: Path, log: Path):
    """The address of a server with this model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
        *("--served-model-name", "tiny"),
        *("--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"),
        *("--max-model-len", str(CONTEXT), "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(2 * CONTEXT)),
    ]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **ENVIRONMENT}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        end = time.monotonic() + 300
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(1)
        else:
            pytest.fail(f"the server did not start: {log.read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM here; `make vllm` makes an environment for it")
def test_a_server_of_vllm_answers_and_judges(tmp_path, make_hasse, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    hasse = make_hasse(tmp_path)
    recipe = {**hasse.tiny}
    recipe["source"] |= {"num_train": 8}
    recipe["student"]["scratch"] |= {"hidden_size": 64, "num_heads": 2, "context_length": CONTEXT}
    recipe["train"] |= {"steps": 1, "arms": {"sft": {"method": "sft"}}}
    hasse.write(recipe)
    hasse.run("--only", "prompts")
    folder = Store(hasse.store).resolve(hasse.run("--only", "student")["student"]["ref"]).path / "model"
    with served(folder, tmp_path / "server.log") as url:
        endpoint = {"model": "tiny", "base_url": url, "api_key_variable": "CHAT_KEY"}
        asked = {"num_samples": 1, "max_tokens": 24, "temperature": 1.0}
        engine = {"python": str(PYTHON), "dtype": "float32", "enforce_eager": True, "max_model_len": CONTEXT}
        recipe["generate"] = {
            "groups": [
                {"sampler": "dataset"},
                {"sampler": "vllm", **asked, **engine},
                {"sampler": "openai", **asked, **endpoint, "logprobs": True},
            ]
        }
        chat = {**endpoint, "max_tokens": 2048, "temperature": 1.0}  # greedily a random model says one letter for ever
        recipe["judge"] = {"teacher": "openai", "chat": chat, "orders": 1}
        recipe["order"] = {"strategy": "scores"}
        hasse.write(recipe)
        steps = hasse.run()
    store = Store(hasse.store)
    generated, judged = (store.resolve(steps[name]["ref"]) for name in ("generate", "judge"))
    by_source = {}
    for candidate in generated.records(Candidate):
        by_source.setdefault(candidate.source, []).append(candidate)
    assert set(by_source) == {"human", "student", "tiny"}
    assert len(by_source["student"]) == len(by_source["tiny"]) == 8
    for candidate in (*by_source["student"], *by_source["tiny"]):
        assert candidate.status == ("ok" if candidate.finish_reason == "stop" else "truncated")
        assert len(candidate.logprobs) <= 24
        assert candidate.logprob_sum == pytest.approx(sum(candidate.logprobs))
    assert generated.manifest.metrics["parity"]["student"]["max"] < 1e-3
    found = list(judged.records(Judgement))
    assert len(found) == 8 * 3
    assert {j.status for j in found} <= {"ok", "truncated", "unparsable"}, judged.manifest.counts
    assert any(j.status == "ok" and 1 <= j.total <= 10 for j in found), judged.manifest.counts
