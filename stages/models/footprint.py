"""The memory that a model takes on a GPU, from its config alone: weights, adapter, activations, cache.

The model is built on torch's meta device, so no weights are needed. Activations are counted for the layers of a Llama
with bfloat16 hidden states, the form of most decoders; they are estimates, which the probe before training replaces.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.stages.models.model_folders import read_config

NOT_IN_KEYS = "it estimates memory and decides nothing"

BITS_4 = 4.127
"""Bits of a weight in NF4 with quantised scales: 4, and 32 for 64 weights as 8-bit scales with scales of their own."""
BITS_GROUPED = 4.156
"""Bits of a weight in AWQ and GPTQ: 4, and 16 + 4 for each group of 128."""
HALF, SINGLE = 2, 4
"""Bytes of bfloat16 and of float32."""
TRAINED = 16
"""Bytes of a trained parameter: weight, gradient and AdamW's two moments, in float32."""
CHUNK_BYTES = 3 << 28
"""A chunk of logits in training, 2^26 in float32, with its gradient and one copy."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a model, in numbers, not bytes.

    linear: (last part of the name, inputs, outputs) of the linear layers that get an adapter; body: the parameters of
    these layers; width: of the hidden states; inner: of an MLP, for all experts that see a token; kv: the numbers that
    the cache keeps of a token; context: the most tokens of prompt and answer; weight_bits: of a weight of the body as
    published, None for bfloat16.
    """

    parameters: int
    linear: tuple[tuple[str, int, int], ...]
    layers: int
    width: int
    inner: int
    kv: int
    vocabulary: int
    context: int
    weight_bits: float | None = None

    @property
    def body(self) -> int:
        return sum(a * b for _, a, b in self.linear)

    def weights(self, bits: float | None = None) -> int:
        """Bytes of the weights in bfloat16, with those of the body in `bits` or as published."""
        bits = bits or self.weight_bits or 8 * HALF
        return int((self.parameters - self.body) * HALF + self.body * bits / 8)

    def adapter(self, r: int, target_modules: Any = "all-linear") -> int:
        """The number of parameters of an adapter of rank r."""
        wanted = None if isinstance(target_modules, str) else set(target_modules)
        return sum(r * (a + b) for name, a, b in self.linear if wanted is None or name in wanted)

    def cache(self, tokens: int) -> int:
        """Bytes of keys and values of this many tokens."""
        return tokens * self.kv * HALF

    def activations(self, tokens: int, *, checkpointing: bool, element: int = HALF) -> int:
        """Bytes that autograd keeps of a pass over this many tokens; `element`: bytes of a hidden state.

        A layer keeps the inputs of its norms and adapters, attention's operands and the MLP's inner states. With
        checkpointing, one layer does so at a time, and the others keep their input alone.
        """
        layer = self._layer(element)
        per_token = self.layers * self.width * element + layer if checkpointing else self.layers * layer
        return tokens * per_token + CHUNK_BYTES

    def forward(self, tokens: int) -> int:
        """Bytes of a pass over this many tokens without a gradient."""
        return tokens * self._layer(HALF) + CHUNK_BYTES

    def _layer(self, element: int) -> int:
        kv = self.kv // self.layers
        norms = 4 * SINGLE * self.width
        return norms + element * (8 * self.width + kv + 4 * self.inner)


def shape_of(folder: Path) -> ModelShape:
    """The shape of the model whose config lies in this folder. Raises InputError for a model of an unknown kind."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    given = read_config(folder)
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} holds a config that transformers does not know: {error}") from error
    text, head = config.get_text_config(), model.get_output_embeddings()
    heads = text.num_attention_heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    linear = tuple(
        (name.rpartition(".")[2], module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    return ModelShape(
        parameters=sum(prod(p.shape) for p in {id(p): p for p in model.parameters()}.values()),
        linear=linear,
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        inner=_inner(text),
        kv=2 * text.num_hidden_layers * kv_heads * head_dim,
        vocabulary=text.vocab_size,
        context=int(getattr(text, "max_position_embeddings", 0) or 4096),
        weight_bits=BITS_GROUPED if given.get("quantization_config") else None,
    )


def _inner(text: Any) -> int:
    """The width of the inner states that an MLP keeps of a token, over all experts that see it."""
    experts = getattr(text, "num_experts_per_tok", None)
    if not experts:
        return int(getattr(text, "intermediate_size", 4 * text.hidden_size))
    shared = getattr(text, "shared_expert_intermediate_size", 0) or 0
    return int(experts * (getattr(text, "moe_intermediate_size", None) or text.intermediate_size) + shared)


def shapes_of(folders: dict[str, Path], send: Any = None) -> dict[str, ModelShape]:
    """Name -> shape. `send` is that of a child process."""
    return {name: shape_of(folder) for name, folder in folders.items()}
