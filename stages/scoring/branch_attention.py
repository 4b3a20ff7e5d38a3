"""Attention within the documents and branches of one row, for models that take their attention from transformers.

The model's own code stays as it is: it is told the name of this attention function, and hands the row's structure
through in the place of a 4-D mask. A query sees a key of its own document, at no later position, that is in the trunk
or in its own branch, and, where a layer has a sliding window, within the window by position.

On the CPU a long document takes two calls of scaled_dot_product_attention: the trunk, causally, and all branches
against the whole document, under a mask; short documents go several to a call. On CUDA the row takes one call of
FlexAttention with a block mask.

Legend: H heads, L tokens of the row, D width of a head.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface

NAME = "hasse_branches"
BLOCK = 128
"""Tokens to whose multiples a row is padded on CUDA, so that few shapes are compiled."""
SHORT = 256
"""Tokens up to which documents share a call on the CPU: below, a call costs more than what its mask hides."""


@dataclass(frozen=True)
class _Run:
    """Whole documents that are attended to together: all at once, or, where `trunk` is not 0, so many tokens apart.

    A mask that is None is plainly causal.
    """

    length: int
    mask: Tensor | None
    trunk: int = 0
    trunk_mask: Tensor | None = None


def branch_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query, key, value: [1, H, L, D]; attention_mask: [1, 1, 3, L], the structure of the row. Gives [1, L, H, D].

    Raises NotImplementedError for what a layer asks beyond that: sinks, a bias.
    """
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise NotImplementedError(f"attention with {name}")
    if query.shape[0] != 1 or attention_mask.shape[2] != 3:
        raise NotImplementedError("attention without the structure of a single row")
    plans = _plans_of(attention_mask)
    if takes_flex(query):
        from transformers.integrations.flex_attention import flex_attention_forward

        if sliding_window not in plans:
            plans[sliding_window] = _block_mask(attention_mask[0, 0], sliding_window)
        mask = plans[sliding_window]
        return flex_attention_forward(module, query, key, value, mask, scaling=scaling, softcap=softcap)  # type: ignore[return-value]
    if sliding_window not in plans:
        plans[sliding_window] = _runs(attention_mask[0, 0], sliding_window)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    runs = plans[sliding_window]
    lengths = [run.length for run in runs]
    attend = partial(_attend, dropout=dropout, scaling=scaling, softcap=softcap)
    split = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    attended = [part for run, q, k, v in zip(runs, *split, strict=True) for part in _attend_run(run, q, k, v, attend)]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


def takes_flex(tensor: Tensor) -> bool:
    """Whether attention is FlexAttention's on the device of this tensor."""
    return tensor.device.type == "cuda"


def visible(structure_3L: Tensor, window: int | None) -> Callable[[Any, Any, Any, Any], Tensor]:
    """Which keys a query sees, as FlexAttention asks it: (batch, head, query index, key index) -> bool."""
    document, branch, position = structure_3L

    def rule(b: Any, h: Any, q: Any, k: Any) -> Tensor:
        same = (document[q] == document[k]) & ((branch[k] == 0) | (branch[k] == branch[q]))
        distance = position[q] - position[k]
        seen = same & (distance >= 0)
        return seen if window is None else seen & (distance < window)

    return rule


_plans = WeakIdKeyDictionary()


def _plans_of(structure: Tensor) -> dict[int | None, Any]:
    """What was worked out of a row's structure, for each window: made in the first layer, used in all."""
    if structure not in _plans:
        _plans[structure] = {}
    return _plans[structure]


def _runs(structure_3L: Tensor, window: int | None) -> list[_Run]:
    document, branch, _ = structure_3L
    rule = visible(structure_3L, window)

    def mask(first: int, end: int, start: int) -> Tensor | None:
        alone = first == start and bool((document[start:end] == document[start]).all())
        if alone and not branch[start:end].any() and (window is None or end - start <= window):
            return None
        return rule(0, 0, torch.arange(first, end)[:, None], torch.arange(start, end)[None])

    runs = []
    for start, end in _bounds(document):
        trunk = int((branch[start:end] == 0).sum())
        if document[start] == document[end - 1] and end - start > SHORT and start + trunk < end:
            middle = start + trunk
            runs.append(_Run(end - start, mask(middle, end, start), trunk, mask(start, middle, start)))
        else:
            runs.append(_Run(end - start, mask(start, end, start)))
    return runs


def _bounds(document_L: Tensor) -> Iterator[tuple[int, int]]:
    """(start, end) of runs of whole documents: one long document, or short ones together."""
    _, lengths = torch.unique_consecutive(document_L, return_counts=True)
    start = end = 0
    for length in lengths.tolist():
        if end > start and end + length - start > SHORT:
            yield start, end
            start = end
        end += length
    if end > start:
        yield start, end


def _attend_run(run: _Run, query: Tensor, key: Tensor, value: Tensor, attend: Any) -> list[Tensor]:
    if not run.trunk:
        return [attend(query, key, value, run.mask)]
    of_trunk, of_branches = query.split([run.trunk, run.length - run.trunk], dim=2)
    return [
        attend(of_trunk, key[:, :, : run.trunk], value[:, :, : run.trunk], run.trunk_mask),
        attend(of_branches, key, value, run.mask),
    ]


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    dropout: float,
    scaling: float | None,
    softcap: float | None,
) -> Tensor:
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling
        )
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    score = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
    score = ((score / softcap).tanh() * softcap).masked_fill(~mask, -torch.inf)
    return torch.nn.functional.dropout(score.softmax(-1), dropout) @ value


def _block_mask(structure_3L: Tensor, window: int | None) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    length = structure_3L.shape[1]
    return create_block_mask(
        visible(structure_3L, window), B=None, H=None, Q_LEN=length, KV_LEN=length, device=str(structure_3L.device)
    )


AttentionInterface.register(NAME, branch_attention)
