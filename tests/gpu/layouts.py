"""The shared layout against separate forward passes in float64, and its attention kernel against dense attention."""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers
from torch import Tensor

from hasse.data.records import TrainingExample
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.branch_attention import BLOCK, branch_attention, visible
from hasse.stages.scoring.score import prepared, sequence_logps, unordered
from tests.gpu.table import Machine, Row

SMALL = {
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES = {
    "Llama": SMALL,
    "Gemma2": {**SMALL, "sliding_window": 64},  # capped scores and logits, and a window in every other layer
    "Qwen3": SMALL,
    "Mistral": {**SMALL, "sliding_window": 64},
}
GROUPS = ((300, (20, 70, 7)), (40, (5, 12)), (4, (1,)), (130, (64, 64, 64, 64)))
"""(prompt, completions) of each example, in tokens."""
TINY_GROUPS = ((30, (9, 20, 7)), (4, (1,)))
DTYPES = (torch.float32, torch.bfloat16)
ROUNDING = {"log-probs": 1e-5, "gradient": 1e-4}
"""The largest relative difference in float32."""
NOISE = 1.5
"""How many times the error of the model's own padded forward pass the error in bfloat16 may be."""
NUM_LENGTHS = 12
"""More lengths of rows than torch.compile would compile one by one."""


def exactness(machine: Machine) -> Iterator[Row]:
    examples = _examples(TINY_GROUPS if machine.tiny else GROUPS)
    for name in list(ARCHITECTURES)[: 1 if machine.tiny else None]:
        for dtype in DTYPES:
            model = _model(name).to(machine.device, dtype).train()
            true = _one_by_one(copy.deepcopy(model).double(), examples)
            own = _errors(_outputs(model, examples, "padded"), true)
            for layout in ("packed", "shared"):
                found = _errors(_outputs(model, examples, layout), true)
                yield _row(f"{layout} layout, {name}, {_name(dtype)}", found, own, dtype)
            yield _isolation(model, examples, f"other answers, {name}, {_name(dtype)}")


def attention(machine: Machine) -> Iterator[Row]:
    """The kernel that the layouts use on this device, forward and backward: FlexAttention on CUDA."""
    kernel = "FlexAttention" if machine.device == "cuda" else "attention"
    structure = _structure().to(machine.device)
    for dtype in DTYPES:
        limit = 1e-5 if dtype == torch.float32 else 2e-2
        for window in (None, 100):
            generator = torch.Generator().manual_seed(0)
            drawn = [torch.randn(1, heads, structure.shape[1], 64, generator=generator) for heads in (4, 2, 2, 4)]
            query, key, value, weights = (tensor.to(machine.device, dtype) for tensor in drawn)
            found = _attended(query, key, value, weights, structure, window)
            true = _attended(*(t.double() for t in (query, key, value, weights)), structure, window, dense=True)
            errors = [_relative(f, t) for f, t in zip(found, true, strict=True)]
            yield Row(
                f"{kernel}, {_name(dtype)}{f', window {window}' if window else ''}",
                f"within {limit:g} of dense attention",
                f"forward {errors[0]:.1e}, backward {max(errors[1:]):.1e}",
                max(errors) <= limit,
            )
    yield _many_lengths(machine, kernel)


def _many_lengths(machine: Machine, kernel: str) -> Row:
    """Whether rows of many lengths share compiled code. Beyond its limit, torch would go on without a kernel."""
    start = time.perf_counter()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for i in range(NUM_LENGTHS):
            structure = _structure(BLOCK * (1 + i)).to(machine.device)
            drawn = [torch.randn(1, heads, structure.shape[1], 64) for heads in (4, 2, 2, 4)]
            found = _attended(*(tensor.to(machine.device, torch.bfloat16) for tensor in drawn), structure, None)
    ok = all(bool(tensor.isfinite().all()) for tensor in found)
    spent = time.perf_counter() - start
    return Row(f"{kernel}, rows of {NUM_LENGTHS} lengths", "within the limit of compilations", f"{spent:.0f} s", ok)


def _row(check: str, found: dict[str, float], own: dict[str, float], dtype: torch.dtype) -> Row:
    numbers = ", ".join(f"{name} {error:.1e}" for name, error in found.items())
    if dtype == torch.float32:
        limits = ", ".join(f"{name} within {limit:g}" for name, limit in ROUNDING.items())
        return Row(check, limits, numbers, all(found[name] <= limit for name, limit in ROUNDING.items()))
    limits = ", ".join(f"{name} within {NOISE:g} x {error:.1e}" for name, error in own.items())
    return Row(check, limits, numbers, all(found[name] <= NOISE * error for name, error in own.items()))


def _isolation(model: Any, examples: list[TrainingExample], check: str) -> Row:
    """Whether other tokens in one answer leave the log-probs of all other answers as they were."""
    first = examples[0]
    changed = replace(first.completions[1], token_ids=tuple(3 + t % 500 for t in first.completions[1].token_ids))
    other = replace(first, completions=(first.completions[0], changed, *first.completions[2:]))
    with torch.no_grad(), prepared(model, "shared"):
        before, after = (
            sequence_logps(model, collate([one, *examples[1:]]).to(model.device), "shared").logp_T
            for one in (first, other)
        )
    start = len(first.completions[0].token_ids)
    differences = (before - after).abs()
    own = differences[start : start + len(changed.token_ids)].clone()
    differences[start : start + len(changed.token_ids)] = 0
    found = float(differences.max())
    return Row(check, "unchanged by one answer's tokens", f"off by {found:g}", found == 0 and bool(own.any()))


def _examples(groups: Sequence[tuple[int, Sequence[int]]]) -> list[TrainingExample]:
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> list[int]:
        return torch.randint(3, 512, (length,), generator=generator).tolist()

    return [unordered(draw(prompt), [draw(length) for length in lengths]) for prompt, lengths in groups]


def _model(name: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**ARCHITECTURES[name])
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    for parameter in model.parameters():  # a fresh model's answers are nearly alike
        torch.nn.init.normal_(parameter, std=0.15)
    return model


def _outputs(model: Any, examples: list[TrainingExample], layout: Any) -> tuple[Tensor, Tensor]:
    """(log-probs, gradient)"""
    with prepared(model, layout):
        logp = sequence_logps(model, collate(examples).to(model.device), layout).logp_T
        return logp.detach(), _gradient(model, logp)


def _one_by_one(model: Any, examples: list[TrainingExample]) -> tuple[Tensor, Tensor]:
    """(log-probs, gradient) of each completion alone, without padding, masks or positions of this project."""
    found = []
    for example in examples:
        for completion in example.completions:
            ids = torch.tensor([[*example.prompt_token_ids, *completion.token_ids]], device=model.device)
            logp = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            start, end = len(example.prompt_token_ids), ids.shape[1]
            found.append(logp[start - 1 : end - 1].gather(1, ids[0, start:, None])[:, 0])
    logp = torch.cat(found)
    return logp.detach(), _gradient(model, logp)


def _gradient(model: Any, logp: Tensor) -> Tensor:
    weights = torch.randn(len(logp), generator=torch.Generator().manual_seed(2)).to(logp)
    model.zero_grad()
    (logp * weights).sum().backward()
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])


def _errors(found: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> dict[str, float]:
    return {name: _relative(f, t) for name, f, t in zip(ROUNDING, found, true, strict=True)}


def _relative(found: Tensor, true: Tensor) -> float:
    return float((found.double() - true).norm() / true.norm())


def _structure(last: int = 256) -> Tensor:
    """(document, branch, position): a prompt of 512 tokens with four answers of 128, and a text of `last` tokens."""
    branches = torch.arange(1, 5).repeat_interleave(128)
    document = torch.cat([torch.zeros(1024), torch.ones(last)]).long()
    branch = torch.cat([torch.zeros(512).long(), branches, torch.zeros(last).long()])
    position = torch.cat([torch.arange(512), torch.arange(512, 640).repeat(4), torch.arange(last)])
    return torch.stack([document, branch, position])


def _attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Tensor,
    structure_3L: Tensor,
    window: int | None,
    *,
    dense: bool = False,
) -> list[Tensor]:
    """The output, [1, L, H, D], and the gradients of query, key and value."""
    inputs = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
    if dense:
        length = structure_3L.shape[1]
        places = torch.arange(length, device=query.device)
        seen = visible(structure_3L, window)(0, 0, places[:, None], places[None])
        q, k, v = inputs[0], *(tensor.repeat_interleave(2, dim=1) for tensor in inputs[1:])
        score = (q @ k.transpose(-1, -2) / 8).masked_fill(~seen, -torch.inf)
        found = (score.softmax(-1) @ v).transpose(1, 2)
    else:
        module = torch.nn.Module()
        found, _ = branch_attention(module, *inputs, structure_3L[None, None], scaling=1 / 8, sliding_window=window)
    return [found.detach(), *torch.autograd.grad((found * weights.transpose(1, 2)).sum(), inputs)]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
