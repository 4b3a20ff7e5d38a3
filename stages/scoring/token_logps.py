"""Log-probs of given tokens from hidden states, without ever holding the logits of all of them.

The logits z are computed for a chunk of tokens at a time and reduced to z[target] - logsumexp(z) in float32. The
backward pass computes them again; the gradient with respect to z is (onehot - softmax) times the incoming gradient. So
memory holds one chunk of float32 logits, whatever the size of the batch.

Legend: T tokens, D hidden width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 26}
"""The number of logits in a chunk. On the CPU 16 MiB in float32: larger blocks are allocated by the system each time.
"""


@dataclass(frozen=True)
class Head:
    """A linear output layer and how its model transforms the logits: z = cap tanh(scale (W h + b) / cap)."""

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    @staticmethod
    def of(model: Any) -> "Head | None":
        """The model's head; None where it is not a plain linear layer, so that only the model can apply it."""
        layer = model.get_output_embeddings()
        if type(layer) is not torch.nn.Linear:
            return None
        config = model.config.get_text_config()
        divisor = getattr(config, "logits_scaling", None) or 1.0
        scale = (getattr(config, "logit_scale", None) or 1.0) / divisor
        return Head(layer.weight, layer.bias, scale, getattr(config, "final_logit_softcapping", None))


def token_logps(hidden_TD: Tensor, head: Head, target_T: Tensor, *, chunk: int | None = None) -> Tensor:
    """log p(target) of each token, [T], in nats, float32 or better. `chunk`: how many tokens at a time."""
    chunk = chunk or max(16, CHUNK_LOGITS.get(hidden_TD.device.type, 1 << 22) // len(head.weight))
    return _TokenLogps.apply(hidden_TD, head.weight, head.bias, target_T, head.scale, head.cap, chunk)  # type: ignore[no-any-return]


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, weight: Tensor, bias: Any, target_T: Tensor, *how: Any) -> Tensor:
        scale, cap, chunk = how
        dtype = _compute_dtype(hidden_TD)
        compute_VD = weight.to(dtype)
        logp, normaliser = [], []
        for h, target in zip(hidden_TD.to(dtype).split(chunk), target_T.split(chunk), strict=True):
            z = _logits(h, compute_VD, bias, scale, cap)
            normaliser.append(z.logsumexp(-1))
            logp.append(z.gather(1, target[:, None])[:, 0] - normaliser[-1])
        ctx.save_for_backward(hidden_TD, weight, bias, target_T, torch.cat(normaliser))
        ctx.how, ctx.dtype = how, dtype
        return torch.cat(logp)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        hidden_TD, weight, bias, target_T, normaliser_T = ctx.saved_tensors
        scale, cap, chunk = ctx.how
        compute_VD = weight.to(ctx.dtype)
        grad_hidden = torch.empty_like(hidden_TD) if ctx.needs_input_grad[0] else None
        # Sharded weights may come in bfloat16, in which a sum over chunks would lose digits.
        exact = torch.promote_types(weight.dtype, torch.float32)
        grad_weight = torch.zeros_like(weight, dtype=exact) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        for start in range(0, len(hidden_TD), chunk):
            part = slice(start, start + chunk)
            h = hidden_TD[part].to(ctx.dtype)
            z = _logits(h, compute_VD, bias, scale, cap)
            slope = None if cap is None else scale * (1 - (z / cap) ** 2)
            d = z.sub_(normaliser_T[part, None]).exp_().mul_(-grads[0][part, None])
            d.scatter_add_(1, target_T[part, None], grads[0][part, None].to(d.dtype))
            d = d.mul_(scale if slope is None else slope)
            if grad_bias is not None:
                grad_bias += d.sum(0)
            d = d.to(ctx.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = d @ compute_VD
            if grad_weight is not None:
                _add_product(grad_weight, d.T, h)
        grad_weight = None if grad_weight is None else grad_weight.to(weight.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None


def _logits(h: Tensor, weight: Tensor, bias: Tensor | None, scale: float, cap: float | None) -> Tensor:
    z = h @ weight.T
    z = z if z.dtype == torch.float64 else z.float()
    if bias is not None:
        z += bias
    if scale != 1.0:
        z *= scale
    return z if cap is None else z.div_(cap).tanh_().mul_(cap)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
