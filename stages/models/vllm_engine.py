"""Run vLLM engines as child processes, each with its own GPUs; they share the chunks of a stage."""

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
from hasse.stages.models.adapters import adapter_config, base_or_self
from hasse.stages.models.model_folders import is_adapter

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
"""The environment of an engine: no downloads, since a model is a folder here, and no usage statistics."""

EngineRequest = tuple[Sequence[int], dict[str, Any]]
"""(token ids of the prompt, arguments of vllm.SamplingParams)"""


class EngineSettings(Config):
    """The settings by which vLLM serves a model."""

    python: str | None = unkeyed(
        None,
        description="Python interpreter with vLLM; left out: $HASSE_VLLM_PYTHON, else this one, else .venv-vllm from "
        "`make vllm`.",
    )
    engines: int | None = unkeyed(None, ge=1, description="Engines that share the work; left out: one per GPU.")
    tensor_parallel: int = unkeyed(
        1, ge=1, description="GPUs of one engine; more engines are faster as long as the model fits on one GPU."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Type of weights and activations; auto: the checkpoint's own."
    )
    max_model_len: int | None = unkeyed(
        None, ge=16, description="The most tokens of prompt and answer together; left out: the model's own limit."
    )
    gpu_memory: float = unkeyed(0.9, gt=0, le=1, description="Share of a GPU's memory that the engine may use.")
    prefix_caching: bool = unkeyed(True, description="Re-use the computation for equal beginnings of prompts.")
    enforce_eager: bool = unkeyed(False, description="Use no CUDA graphs: the engine is slower but starts sooner.")
    max_gap: float = unkeyed(
        0.05,
        gt=0,
        description="The run stops when log-probs differ on average by more than this from the training stack's, in "
        "nats per token.",
    )


LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The limits of an adapter's rank that vLLM takes."""


class Pool:
    """The engines of one model, which serve it and adapters on it up to a rank.

    Requests go to the engine with the fewest open requests.
    """

    def __init__(self, folder: Path, settings: EngineSettings, *, lora_rank: int | None = None):
        gpus = visible_gpus()
        count = settings.engines or max(len(gpus) // settings.tensor_parallel, 1)
        if gpus and count * settings.tensor_parallel > len(gpus):
            raise InputError(
                f"{count} engines of {settings.tensor_parallel} GPUs each do not fit on {len(gpus)} GPUs; "
                "lower engines or tensor_parallel"
            )
        width = settings.tensor_parallel
        parts = [gpus[i * width : (i + 1) * width] for i in range(count)]
        self.engines = [Engine(folder, settings, part, lora_rank=lora_rank) for part in parts]
        self.lock = threading.Lock()

    def outputs(self, requests: Sequence[EngineRequest], *, adapter: Path | None = None) -> list[dict[str, Any]]:
        """One output per request, in order, of the model or of an adapter on it. Callable from several threads.

        Raises ChildDied and InputError.
        """
        with self.lock:
            engine = min(self.engines, key=lambda e: e.outstanding)
            future = engine.submit(requests, adapter=adapter)
        return future.result()

    def close(self) -> None:
        for engine in self.engines:
            engine.close()


def engine_outputs(folder: Path, settings: EngineSettings, requests: Sequence[EngineRequest]) -> list[dict[str, Any]]:
    """The outputs of the folder's model or adapter. Adapters of similar rank on one base are served by one engine."""
    if not is_adapter(folder):
        return pool(folder, settings).outputs(requests)
    rank = adapter_config(folder)["r"]
    limit = next((limit for limit in LORA_RANKS if limit >= rank), None)
    if limit is None:
        raise InputError(
            f"the adapter in {folder} has rank {rank}, and vLLM takes {LORA_RANKS[-1]} at most; merge it by "
            "`hasse export --merged`, or take the sampler transformers"
        )
    return pool(base_or_self(folder), settings, lora_rank=limit).outputs(requests, adapter=folder.resolve())


def pool(folder: Path, settings: EngineSettings, *, lora_rank: int | None = None) -> Pool:
    """The engines of this model, started on first use. Settings that are not the engine's own share the engines."""
    engine = EngineSettings(**{name: getattr(settings, name) for name in EngineSettings.model_fields})
    key = f"{folder} {engine.model_dump_json()} {lora_rank}"
    with _lock:
        if key not in _pools:
            _pools[key] = Pool(folder, engine, lora_rank=lora_rank)
        return _pools[key]


def close_pools() -> None:
    """Stop all engines, which frees their GPUs."""
    while _pools:
        _pools.popitem()[1].close()


_pools: dict[str, Pool] = {}
_lock = threading.Lock()


class Engine:
    """One worker process with a vLLM engine."""

    def __init__(self, folder: Path, settings: EngineSettings, gpus: Sequence[str], *, lora_rank: int | None = None):
        environment = {**os.environ, **ENVIRONMENT, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  open as long as the process runs
        self.process = subprocess.Popen(
            [interpreter(settings), "-I", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
            start_new_session=True,  # `close` also kills the processes that vLLM starts
        )
        self.waiting: dict[int, Future[list[dict[str, Any]]]] = {}
        self.outstanding = self.number = 0
        self.error: Exception | None = None
        self._send({"engine": engine_arguments(folder, settings, lora_rank=lora_rank)})
        self.ready: Future[str] = Future()
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self.close)

    def submit(self, requests: Sequence[EngineRequest], *, adapter: Path | None = None) -> Future[list[dict[str, Any]]]:
        """Send a chunk of requests, which are answered together."""
        future: Future[list[dict[str, Any]]] = Future()
        if self.error is not None:
            raise self.error
        self.number += 1
        self.waiting[self.number] = future
        self.outstanding += len(requests)
        future.add_done_callback(lambda _: self._done(len(requests)))
        prompts = [[list(ids), how] for ids, how in requests]
        self._send({"id": self.number, "prompts": prompts, "adapter": str(adapter) if adapter else None})
        return future

    def close(self) -> None:
        """Kill the process and all processes that it started."""
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
            pass  # `_listen` notices the end of the process

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "ready" in message:
                self.ready.set_result(message["ready"])
            elif "error" in message:
                self.waiting.pop(message["id"]).set_exception(InputError(f"vLLM refuses a request: {message['error']}"))
            else:
                self.waiting.pop(message["id"]).set_result(message["outputs"])
        code = self.process.wait()
        self.close()
        self.error = ChildDied(f"the vLLM process ended with code {code}: {self._last_error()}")
        for future in list(self.waiting.values()):
            future.set_exception(self.error)

    def _last_error(self) -> str:
        self.log.seek(0)
        lines = [line.strip() for line in self.log if "Error" in line]
        return lines[-1] if lines else "no word of why"


def interpreter(settings: EngineSettings) -> str:
    """The Python interpreter for the engine. Raises InputError when no interpreter with vLLM is known."""
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
    """The numbers of the GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [gpu for gpu in given.split(",") if gpu]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def engine_arguments(folder: Path, settings: EngineSettings, *, lora_rank: int | None = None) -> dict[str, Any]:
    """The arguments of vllm.LLM. `lora_rank`: the largest rank of adapters; None for an engine that takes none.

    Without a GPU chunked prefill is off: vLLM rewinds a seeded generator after a part of a prompt, and generators on
    the CPU cannot be rewound.
    """
    optional = {
        "max_model_len": settings.max_model_len,
        "enable_lora": lora_rank and True,
        "max_lora_rank": lora_rank,
    }
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
