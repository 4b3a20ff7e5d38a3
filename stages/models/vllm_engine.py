"""vLLM engines as child processes, each with its GPU, that share the chunks of a stage."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hasse.data.errors import ChildDied, InputError
from hasse.data.settings import Config, unkeyed

NOT_IN_KEYS = "it starts engines and passes on their answers; samplers and teachers that ask an engine name this module"

WORKER = Path(__file__).parent / "vllm_worker.py"
VARIABLE = "HASSE_VLLM_PYTHON"
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""A model is a folder here, so nothing is looked up elsewhere; and nobody is told."""

EngineRequest = tuple[Sequence[int], dict[str, Any]]
"""(token ids of the prompt, arguments of vllm.SamplingParams)"""


class EngineSettings(Config):
    """How a model is served."""

    python: str | None = unkeyed(
        None,
        description="Interpreter that has vLLM; left out: $HASSE_VLLM_PYTHON, else this one, else .venv-vllm of "
        "`make vllm`.",
    )
    engines: int | None = unkeyed(None, ge=1, description="Engines that share the work; left out: one a GPU.")
    tensor_parallel: int = unkeyed(1, ge=1, description="GPUs of one engine; first more engines, then this.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Of weights and activations; auto: as the checkpoint has them."
    )
    max_model_len: int | None = unkeyed(None, ge=16, description="Tokens of prompt and answer; left out: the model's.")
    gpu_memory: float = unkeyed(0.9, gt=0, le=1, description="Share of a GPU's memory.")
    prefix_caching: bool = unkeyed(True, description="Keep what equal beginnings of prompts have in common.")
    enforce_eager: bool = unkeyed(False, description="No CUDA graphs: slower, and ready sooner.")
    lora: str | None = Field(default=None, description="Folder of an adapter on the model.")
    max_gap: float = unkeyed(
        0.05,
        gt=0,
        description="Largest mean difference of a log-prob from the training stack's, nats a token, before it stops.",
    )


class Pool:
    """The engines of one model: requests go to the one with the least to do."""

    def __init__(self, folder: Path, settings: EngineSettings):
        gpus = visible_gpus()
        count = settings.engines or max(len(gpus) // settings.tensor_parallel, 1)
        if gpus and count * settings.tensor_parallel > len(gpus):
            raise InputError(
                f"{count} engines of {settings.tensor_parallel} GPUs each do not fit on {len(gpus)} GPUs; "
                "lower engines or tensor_parallel"
            )
        width = settings.tensor_parallel
        self.engines = [Engine(folder, settings, gpus[i * width : (i + 1) * width]) for i in range(count)]
        self.lock = threading.Lock()

    def outputs(self, requests: Sequence[EngineRequest]) -> list[dict[str, Any]]:
        """One output a request, in order; callable from several threads. Raises ChildDied, InputError."""
        with self.lock:
            engine = min(self.engines, key=lambda e: e.outstanding)
            future = engine.submit(requests)
        return future.result()

    def close(self) -> None:
        for engine in self.engines:
            engine.close()


def pool(folder: Path, settings: EngineSettings) -> Pool:
    """The engines of this model, started when first asked; uses that differ in other settings share them."""
    engine = EngineSettings(**{name: getattr(settings, name) for name in EngineSettings.model_fields})
    key = f"{folder} {engine.model_dump_json()}"
    with _lock:
        if key not in _pools:
            _pools[key] = Pool(folder, engine)
        return _pools[key]


def close_pools() -> None:
    """End all engines, so that their GPUs are free."""
    while _pools:
        _pools.popitem()[1].close()


_pools: dict[str, Pool] = {}
_lock = threading.Lock()


class Engine:
    """One worker process."""

    def __init__(self, folder: Path, settings: EngineSettings, gpus: Sequence[str]):
        environment = {**os.environ, **ENVIRONMENT, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  it lives as long as the process
        self.process = subprocess.Popen(
            [interpreter(settings), "-I", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
            start_new_session=True,  # vLLM has processes of its own; they end with it
        )
        self.waiting: dict[int, Future[list[dict[str, Any]]]] = {}
        self.outstanding = self.number = 0
        self.error: Exception | None = None
        self._send({"engine": engine_arguments(folder, settings)})
        self.ready: Future[str] = Future()
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.close)

    def submit(self, requests: Sequence[EngineRequest]) -> Future[list[dict[str, Any]]]:
        """A chunk of requests, answered together."""
        future: Future[list[dict[str, Any]]] = Future()
        if self.error is not None:
            raise self.error
        self.number += 1
        self.waiting[self.number] = future
        self.outstanding += len(requests)
        future.add_done_callback(lambda _: self._done(len(requests)))
        self._send({"id": self.number, "prompts": [[list(ids), how] for ids, how in requests]})
        return future

    def close(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _done(self, number: int) -> None:
        self.outstanding -= number

    def _send(self, message: dict[str, Any]) -> None:
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is noticed where its answers are read

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "ready" in said:
                self.ready.set_result(said["ready"])
            elif "error" in said:
                self.waiting.pop(said["id"]).set_exception(InputError(f"vLLM refuses a request: {said['error']}"))
            else:
                self.waiting.pop(said["id"]).set_result(said["outputs"])
        code = self.process.wait()
        self.close()
        self.error = ChildDied(f"the vLLM process ended with code {code}: {self._last_words()}")
        for future in list(self.waiting.values()):
            future.set_exception(self.error)

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = [line.strip() for line in self.log if "Error" in line]
        return lines[-1] if lines else "no word of why"


def interpreter(settings: EngineSettings) -> str:
    """Which Python runs the engine. Raises InputError when none is known to have vLLM."""
    given = settings.python or os.environ.get(VARIABLE)
    if given:
        if not Path(given).exists():
            raise InputError(f"python {given!r} for vLLM does not exist")
        return given
    if find_spec("vllm") is not None:
        return sys.executable
    made = Path(".venv-vllm/bin/python").absolute()
    if made.exists():
        return str(made)
    raise InputError(
        f"no interpreter with vLLM: `make vllm` makes one in .venv-vllm, and `python` of the group or ${VARIABLE} "
        "names one that lies elsewhere"
    )


def visible_gpus() -> list[str]:
    """Numbers of the GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [gpu for gpu in given.split(",") if gpu]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def engine_arguments(folder: Path, settings: EngineSettings) -> dict[str, Any]:
    """Of vllm.LLM, and `lora`.

    Without a GPU prompts go in whole: vLLM winds a seeded generator back after a part of one, and generators on the CPU
    cannot be wound back.
    """
    optional = {"max_model_len": settings.max_model_len, "lora": settings.lora}
    return {
        "model": str(folder),
        "dtype": settings.dtype,
        "tensor_parallel_size": settings.tensor_parallel,
        "gpu_memory_utilization": settings.gpu_memory,
        "enable_prefix_caching": settings.prefix_caching,
        "enforce_eager": settings.enforce_eager,
        "disable_log_stats": True,
        "load_format": "safetensors",
        "trust_remote_code": False,
        **({} if visible_gpus() else {"enable_chunked_prefill": False}),
        **{name: value for name, value in optional.items() if value is not None},
    }
