"""Finds how many tokens fit into one forward pass of training, by a probe before the first step.

The probe counts the activations that autograd keeps for backward, so it is the same on every device. Training also
holds gradients and the two moments of the optimiser. The weights are already loaded when the probe is made.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hasse.data.errors import InputError
from hasse.data.records import TrainingExample
from hasse.stages.models.this_process import is_offloaded, is_sharded
from hasse.stages.scoring.batch import CandidateBatch, collate
from hasse.stages.scoring.score import Layout, group_of, tokens_of

NOT_IN_KEYS = "it decides in which processes and in how much memory work is done; results agree up to rounding"

MOST_TOKENS = 16_384
"""The most tokens of one forward pass; more tokens are not faster."""
SHARE = 0.8
"""The share of free memory that is planned with; the rest is for uncounted tensors and fragmentation."""
MOMENTS_AND_GRADIENT = 12
"""Bytes for each trained parameter in float32, besides its weight."""


@dataclass(frozen=True)
class MemoryPlan:
    """The limit on the tokens of one forward pass.

    max_tokens: tokens of a pass; checkpointing: whether activations are recomputed; peak_bytes: in the longest pass.
    """

    max_tokens: int
    checkpointing: bool
    peak_bytes: int


@dataclass(frozen=True)
class Sizes:
    """The longest group of completions of a prompt and the longest single completion, in tokens of a forward pass."""

    group: int
    single: int
    group_example: TrainingExample
    single_prompt: str

    @staticmethod
    def of(examples: Sequence[TrainingExample], layout: Layout) -> "Sizes":
        group = single = 0
        group_example, single_prompt = examples[0], ""
        for example in examples:
            prompt, lengths = group_of(example)
            tokens = tokens_of(prompt, lengths, layout)
            if tokens > group:
                group, group_example = tokens, example
            if prompt + max(lengths) > single:
                single, single_prompt = prompt + max(lengths), example.prompt_id
        return Sizes(group, single, group_example, single_prompt)


def plan_memory(
    model: Any,
    outputs_of: Callable[[Any, CandidateBatch, Layout], Tensor],
    sizes: Sizes,
    layout: Layout,
    *,
    max_tokens: int | None = None,
    checkpointing: bool | str = "auto",
    free_bytes: int | None = None,
) -> MemoryPlan:
    """The memory of one forward pass. outputs_of: gives the outputs of a batch with their graph.

    Raises InputError, with the prompt, for an answer that does not fit even alone and with checkpointing.
    """
    room = SHARE * (free_memory() if free_bytes is None else free_bytes) - fixed_bytes(model)
    for on in [False, True] if checkpointing == "auto" else [bool(checkpointing)]:
        set_checkpointing(model, on)
        per_token = _bytes_per_token(model, outputs_of, sizes, layout)
        fits = int(max(room, 0) / per_token)
        if fits >= sizes.single:
            tokens = max_tokens or min(MOST_TOKENS, fits)
            held = min(max(tokens, sizes.single), max(sizes.group, tokens))
            return MemoryPlan(tokens, on, int(held * per_token + fixed_bytes(model)))
    needed = (sizes.single * per_token + fixed_bytes(model)) / SHARE  # type: ignore[possibly-undefined]
    raise InputError(
        f"prompt {sizes.single_prompt}: its longest answer is {sizes.single} tokens with its prompt, for which "
        f"training needs about {needed / 2**30:.2g} GiB of free memory; lower examples.max_length, or train with lora"
    )


def fixed_bytes(model: Any) -> int:
    """Bytes of gradients and moments; for a model that will be sharded, this process's share of them and of weights."""
    held = MOMENTS_AND_GRADIENT * sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not is_sharded():
        return held
    if is_offloaded():
        return 0
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return (held + weights) // int(os.environ["WORLD_SIZE"])


def free_memory() -> int:
    """Bytes that this process can still allocate on the device of the training."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    import psutil

    return psutil.virtual_memory().available


def set_checkpointing(model: Any, on: bool) -> None:
    """Have the model recompute activations in backward, or keep them."""
    if on:
        model.activation_checkpointing_enable()
        if any(not p.requires_grad for p in model.parameters()):
            model.enable_input_require_grads()
    elif model.is_activation_checkpointing:
        model.activation_checkpointing_disable()


def activation_bytes(run: Callable[[], Any], model: Any) -> int:
    """Bytes that autograd keeps of a forward pass, without parameters. Each storage counts once."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = run()  # the graph lives as long as its outputs, so no storage is used twice
    total = sum(kept.values())
    del outputs
    return total


def _bytes_per_token(model: Any, outputs_of: Any, sizes: Sizes, layout: Layout) -> float:
    batch = collate([sizes.group_example]).only([_longest(sizes.group_example)])
    was_training = model.training
    model.train()
    try:
        kept = activation_bytes(lambda: outputs_of(model, batch.to(next(model.parameters()).device), layout), model)
    finally:
        model.train(was_training)
    tokens = len(batch.prompt_ids[0]) + len(batch.completion_ids[0])
    return kept / tokens


def _longest(example: TrainingExample) -> int:
    return max(range(len(example.completions)), key=lambda i: len(example.completions[i].token_ids))
