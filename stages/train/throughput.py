"""How fast training goes, in useful work: tokens that a loss needs, and the floating-point operations they cost.

Useful are a prompt once and its responses, P + K R tokens, whatever a layout really puts through the model. A parameter
of the body costs 6 operations a token forward and backward, one of the head 6 a response token, and a visible pair of
tokens 12 times the width of attention in every layer. MFU is useful operations a second over the device's peak.
"""

import time
from typing import Any

import torch

from hasse.data.records import TrainingExample

NOT_IN_KEYS = "it measures how fast training is"

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12, "3090": 71e12}
"""Dense bfloat16 operations a second, by a part of the CUDA device's name, from the makers' data sheets."""


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
        """Prompts and useful tokens a second over all processes that do the like, and MFU; starts again."""
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
    """P + K R."""
    return len(example.prompt_token_ids) + sum(len(c.token_ids) for c in example.completions)


def peak() -> float:
    """Operations a second that the device can do: by its name, or else as a large product of matrices reaches.

    The measurement takes place during training, so it draws no random number: the run would go on differently.
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
