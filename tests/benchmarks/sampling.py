"""The generate stage with vLLM against vLLM's own batch call: same prompts, same settings, same engine options.

python -m tests.benchmarks.sampling [--prompts N] [--repeats R]

Both sides have their engine running before the clock starts, and take turns; the stage's time includes its row chunks,
its keys and its progress. The first pass of each side is thrown away.
"""

import argparse
import atexit
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hasse.data.records import Candidate, Prompt
from hasse.pipeline.fingerprint import text_digest
from hasse.pipeline.row_chunks import Unit
from hasse.pipeline.rows import map_rows
from hasse.pipeline.stage import Job
from hasse.pipeline.store import Store
from hasse.stages.generate.samplers import vllm
from hasse.stages.models.vllm_engine import ENVIRONMENT, close_pools, engine_arguments, interpreter

ENGINE: dict[str, Any] = {"dtype": "float32", "enforce_eager": True, "prefix_caching": False, "engines": 1}
ASKED: dict[str, Any] = {"num_samples": 4, "max_tokens": 32, "temperature": 1.0}

PEER = """
import json, sys, time
from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt

asked = json.loads(sys.stdin.readline())
llm = LLM(**asked["engine"])
prompts = [TokensPrompt(prompt_token_ids=ids) for ids in asked["prompts"]]
how = [SamplingParams(**how) for how in asked["sampling"]]
print("READY", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    outputs = llm.generate(prompts, how, use_tqdm=False)
    tokens = sum(len(sample.token_ids) for output in outputs for sample in output.outputs)
    print("TOOK", json.dumps([time.perf_counter() - started, tokens]), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, prompts = make_model(Path(folder) / "model"), make_prompts(given.prompts)
        settings = vllm.Settings(**ENGINE, **ASKED)
        peer = Peer(model, prompts, settings)
        atexit.register(peer.close)
        stage = [run_stage(Path(folder) / f"store-{i}", model, prompts, settings) for i in range(1)]
        own = [peer.once()]
        for i in range(given.repeats):
            stage.append(run_stage(Path(folder) / f"store-{i + 1}", model, prompts, settings))
            own.append(peer.once())
        close_pools()
    ratios = sorted(a / b for a, b in zip(stage[1:], own[1:], strict=True))
    print(f"{given.prompts} prompts x {settings.num_samples} answers of at most {settings.max_tokens} tokens")
    print(f"vLLM's batch call  {statistics.median(own[1:]):6.2f} s")
    print(f"the stage          {statistics.median(stage[1:]):6.2f} s")
    print(f"ratio              {statistics.median(ratios):6.3f}   ({ratios[0]:.3f} to {ratios[-1]:.3f})")


def make_model(folder: Path) -> Any:
    """A random Llama, large enough for the engine to be what takes the time."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(4092))]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    checkpoint = SimpleNamespace(weights_digest="w", tokenizer_digest="t")
    return SimpleNamespace(folder=folder, tokenizer=tokenizer, context=256, checkpoint=checkpoint)


def make_prompts(number: int) -> list[Prompt]:
    return [
        Prompt(
            prompt_id=text_digest(str(i)),
            text=" ".join(f"w{(i * 31 + j * 7) % 4092}" for j in range(64)),
            source="benchmark",
            cluster_id=str(i),
            split="train",
        )
        for i in range(number)
    ]


def run_stage(root: Path, model: Any, prompts: list[Prompt], settings: vllm.Settings) -> float:
    """Seconds of the rows of a generate stage, with an engine that is shared by all calls."""
    started = time.perf_counter()
    job = Job(
        name="generate",
        settings=settings,
        inputs={},
        path=root / "generate" / ".work-0",
        store=Store(root),
        progress=lambda done, total: None,
        code="0" * 24,
    )
    job.path.mkdir(parents=True)
    map_rows(
        job,
        (Unit(prompt.prompt_id, prompt) for prompt in prompts),
        lambda chunk: list(vllm.sample(chunk, settings, model)),
        Candidate,
        total=len(prompts),
        chunk_size=max(len(prompts) // 4, 1),
        ahead=1,
    )
    return time.perf_counter() - started


class Peer:
    """vLLM's own batch call, in a process that keeps its engine."""

    def __init__(self, model: Any, prompts: list[Prompt], settings: vllm.Settings):
        self.process = subprocess.Popen(
            [interpreter(vllm.engine(settings)), "-c", PEER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        engine = engine_arguments(model.folder, vllm.engine(settings))
        ids = [model.tokenizer(prompt.text).input_ids for prompt in prompts]
        sampling = [vllm.sampling(settings, i, []) for i in range(len(prompts))]
        self._say({"engine": engine, "prompts": ids, "sampling": sampling})
        self._read("READY")

    def once(self) -> float:
        self._say({})
        seconds, _ = json.loads(self._read("TOOK"))
        return seconds

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)  # vLLM has processes of its own
        self.process.wait()

    def _say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _read(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line.removeprefix(word)
        sys.exit("vLLM's own process ended; run the command again with its standard error shown")


if __name__ == "__main__":
    main()
