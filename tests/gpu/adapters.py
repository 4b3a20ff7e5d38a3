"""Training of all weights and of LoRA adapters on float32, bfloat16 and 4-bit bases: losses and peaks of memory."""

import gc
import math
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from hasse.stages.train.fit import fit
from hasse.stages.train.memory import SHARE
from hasse.stages.train.methods import sft
from hasse.stages.train.one_run import model_to_train
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.run_spec import RunSpec
from hasse.stages.train.settings import LoraSettings, TrainSettings
from tests.benchmarks.training import make_examples, make_model
from tests.gpu.table import Machine, Row

STEPS = 6
WAYS: dict[str, dict[str, Any] | None] = {
    "all weights, float32": None,
    "LoRA on float32": {"base": "float32"},
    "LoRA, bfloat16 on CUDA": {"base": "auto"},
    "LoRA on 4 bits": {"base": "4bit"},
}
"""Each takes less memory than the one before it."""


def adapters(machine: Machine) -> Iterator[Row]:
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(machine.device)
        vocabulary = model.config.vocab_size
        model.save_pretrained(Path(folder) / "student")
        del model
        for name, lora in WAYS.items():
            problem = _problem(lora, machine)
            if problem:
                yield Row(name, "trains", problem, None)
                continue
            _clear(machine)
            yield _trained(name, lora, Path(folder), machine, vocabulary, peaks)


def _trained(
    name: str, lora: dict[str, Any] | None, folder: Path, machine: Machine, vocabulary: int, peaks: list[float]
) -> Row:
    """Train the same few examples in every step, so that the loss falls."""
    prompts, shape = (2, (2, 16, 8)) if machine.tiny else (8, (4, 512, 128))
    settings = TrainSettings(
        method=sft.Settings(),
        optimiser=OptimiserSettings(
            steps=STEPS, prompts_per_step=prompts, learning_rate=1e-3 if lora else 1e-5, warmup=0, save_steps=1000
        ),
        lora=LoraSettings(**lora) if lora else None,
        seed=0,
    )
    run_spec = RunSpec(settings=settings, student=folder / "student", path=folder / name.replace(" ", "-"))
    examples = make_examples(shape, prompts, vocabulary)
    times: list[float] = []
    model = model_to_train(run_spec)
    points, plan = fit(
        model, examples, **run_spec.fit_arguments(), on_step=lambda *_: times.append(time.perf_counter())
    )
    losses = [point.value for point in points if point.metric == "loss"]
    found = f"loss {losses[0]:.3f} to {losses[-1]:.3f}, {(times[-1] - times[0]) / (len(times) - 1):.2f} s a step"
    falls = all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    if machine.device != "cuda":
        return Row(name, "the loss falls", found, falls)
    peak, planned = torch.cuda.max_memory_allocated(), plan.peak_bytes / SHARE
    less = not peaks or peak < peaks[-1]
    peaks.append(peak)
    expected = f"the loss falls; at most {planned / 2**30:.1f} GiB, less than above"
    return Row(name, expected, f"{found}, {peak / 2**30:.1f} GiB", falls and less and peak <= planned)


def _problem(lora: dict[str, Any] | None, machine: Machine) -> str | None:
    """Why this way cannot be tried here, or None."""
    if lora == {"base": "4bit"}:
        if machine.device != "cuda":
            return "needs a CUDA device"
        if find_spec("bitsandbytes") is None:
            return "bitsandbytes is not installed; pip install 'hasse-llm[4bit]'"
    return None


def _clear(machine: Machine) -> None:
    gc.collect()
    if machine.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
