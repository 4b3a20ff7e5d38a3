"""The speed of training in useful work: tokens that a loss needs, and their floating-point operations.

Useful are the tokens of a prompt once and of its responses, P + K R, whatever the layout puts through the model.
Forward and backward together, a parameter of the body costs 6 operations per token, a parameter of the head 6 per
response token, and a pair of tokens of which one sees the other 12 times the width of attention in each layer. MFU is
useful operations per second divided by the peak of the device.
"""

import time
from typing import Any

import torch

from hasse.data.records import TrainingExample

NOT_IN_KEYS = "it measures how fast training is"

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12, "3090": 71e12}
"""Part of a CUDA device's name -> dense bfloat16 operations per second, from the maker's data sheet."""


class Meter:
    """Useful tokens, prompts and operations since the last reading."""

    def __init__(self, model: Any):
        self.costs = Costs(model)
        self.peak: float | None = None
        self._start()

    def count(self, examples: list[TrainingExample]) -> None:
        self.prompts += len(examples)
        for example in examples:
            self.tokens += useful_tokens(example)
            self.operations += self.costs.of(example)

    def read(self, num_processes: int = 1) -> dict[str, float]:
        """Prompts and useful tokens per second over all processes, and MFU, since the last reading."""
        self.peak = self.peak or peak()
        seconds = max(time.monotonic() - self.since, 1e-9)
        found = {
            "prompts_per_second": self.prompts * num_processes / seconds,
            "useful_tokens_per_second": self.tokens * num_processes / seconds,
            "mfu": self.operations / seconds / self.peak,
        }
        self._start()
        return found

    def _start(self) -> None:
        self.since, self.tokens, self.prompts, self.operations = time.monotonic(), 0, 0, 0.0


class Costs:
    """Floating-point operations of one example, forward and backward."""

    def __init__(self, model: Any):
        config = model.config.get_text_config()
        embeddings = {id(p) for p in _parameters(model.get_input_embeddings())}
        head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        embeddings |= {id(p) for p in _parameters(head)}
        self.body = sum(p.numel() for p in model.parameters() if id(p) not in embeddings)
        self.head = sum(p.numel() for p in _parameters(head))
        heads = getattr(config, "num_attention_heads", 0)
        width = getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)
        self.attention = 12 * config.num_hidden_layers * heads * width

    def of(self, example: TrainingExample) -> float:
        prompt, lengths = len(example.prompt_token_ids), [len(c.token_ids) for c in example.completions]
        responses = sum(lengths)
        visible = prompt**2 / 2 + sum(length * prompt + length**2 / 2 for length in lengths)
        return 6 * self.body * (prompt + responses) + 6 * self.head * responses + self.attention * visible


def useful_tokens(example: TrainingExample) -> int:
    """P + K R: the tokens of the prompt and of all its completions."""
    return len(example.prompt_token_ids) + sum(len(c.token_ids) for c in example.completions)


def peak() -> float:
    """The most operations per second of the device, by its name or else measured by a large matrix product.

    The measurement takes place during training, so it must not draw random numbers.
    """
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        known = next((value for part, value in PEAK.items() if part in name), None)
        if known:
            return known
    return measured_peak()


def measured_peak(size: int = 1024, repeats: int = 3) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.ones(size, size, device=device, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    times = []
    for _ in range(repeats):
        start = time.monotonic()
        (a @ a)[0, 0].item()
        times.append(time.monotonic() - start)
    return 2 * size**3 / min(times)


def _parameters(module: Any) -> list[Any]:
    return [] if module is None else list(module.parameters())
