"""The rows of the training benchmark, in this process: a model of 1.2 billion parameters on CUDA."""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

from hasse.data.records import TrainingExample
from hasse.stages.train.throughput import PEAK, Costs
from tests.benchmarks.training import SHAPES, VARIANTS, make_examples, make_model, step
from tests.gpu.table import Machine, Row

TINY_SHAPES = [(4, 64, 16)]
FASTER = "shared"
"""The variant that must not be slower than the padded loop, nor take more memory."""


def speed(machine: Machine) -> Iterator[Row]:
    model = make_model(machine.device)
    shapes, prompts, repeats = (TINY_SHAPES, 1, 1) if machine.tiny else (SHAPES, 8, 3)
    for shape in shapes:
        examples = make_examples(shape, prompts, model.config.vocab_size)
        seconds: dict[str, float] = {}
        peaks: dict[str, float] = {}
        for variant in VARIANTS:
            seconds[variant], peaks[variant] = _measured(variant, model, examples, repeats)
            yield _row(variant, shape, model, examples, seconds, peaks, machine)


def _row(
    variant: str,
    shape: tuple[int, ...],
    model: Any,
    examples: list[TrainingExample],
    seconds: dict[str, float],
    peaks: dict[str, float],
    machine: Machine,
) -> Row:
    ratio = seconds[VARIANTS[0]] / seconds[variant]
    found = f"{len(examples) / seconds[variant]:.2f} prompts/s, {ratio:.2f} x"
    expected, ok = "runs", True
    if machine.device == "cuda":
        found += f", {peaks[variant] / 2**30:.2f} GiB{_mfu(model, examples, seconds[variant])}"
        if variant == FASTER:
            expected = "1 x or faster, with no more memory"
            ok = ratio >= 1 and peaks[variant] <= peaks[VARIANTS[0]]
    return Row(f"step, {variant}, K P R {' '.join(map(str, shape))}", expected, found, ok)


def _measured(variant: str, model: Any, examples: list[TrainingExample], repeats: int) -> tuple[float, float]:
    """(median seconds of a step, bytes at its peak beyond weights and gradients)."""
    torch._dynamo.reset()  # each variant compiles for its own rows
    step(variant, model, examples)  # gradients exist, kernels are compiled
    step(variant, model, examples)
    cuda = model.device.type == "cuda"
    before = 0
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(variant, model, examples)
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times), torch.cuda.max_memory_allocated() - before if cuda else 0


def _mfu(model: Any, examples: list[TrainingExample], seconds: float) -> str:
    name = torch.cuda.get_device_name()
    peak = next((value for part, value in PEAK.items() if part in name), None)
    return f", MFU {sum(map(Costs(model).of, examples)) / seconds / peak:.2f}" if peak else ""
