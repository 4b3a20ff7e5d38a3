"""Attention within the documents and branches of one row, for models that use transformers' attention interface.

The model's code is unchanged: the model is given the name of this attention function, and passes on the row's structure
as if it were a 4-D mask. A query attends to a key when the key is in the same document, in the trunk or in the query's
own branch, and at no later position; in a layer with a sliding window, the key's position must be within the window.

On the CPU a long document takes two calls of scaled_dot_product_attention: a causal call for the trunk, and a masked
call for all branches against the whole document. Several short documents share one call. On CUDA the row takes one call
of FlexAttention with a block mask.

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
"""On CUDA a row is padded to a multiple of this many tokens, so that few shapes are compiled."""
SHORT = 256
"""Documents share a call on the CPU up to this many tokens: another call would cost more than the masked products."""


@dataclass(frozen=True)
class _Run:
    """Whole documents that are computed together, in one call, or in two where `trunk` is not 0.

    length: tokens; trunk: tokens of the trunk, which then has a call and a mask of its own. A mask of None is causal.
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
    """Attention by the structure of the row; returns [1, L, H, D].

    query, key, value: [1, H, L, D]; attention_mask: [1, 1, 3, L], the structure of the row. Raises NotImplementedError
    for a layer that needs attention sinks or a position bias.
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
    """Whether FlexAttention is used on the device of this tensor."""
    return tensor.device.type == "cuda"


def visible(structure_3L: Tensor, window: int | None) -> Callable[[Any, Any, Any, Any], Tensor]:
    """FlexAttention's mask function, (batch, head, query index, key index) -> whether the query attends to the key."""
    document, branch, position = structure_3L

    def rule(b: Any, h: Any, q: Any, k: Any) -> Tensor:
        same = (document[q] == document[k]) & ((branch[k] == 0) | (branch[k] == branch[q]))
        distance = position[q] - position[k]
        seen = same & (distance >= 0)
        return seen if window is None else seen & (distance < window)

    return rule


_plans = WeakIdKeyDictionary()


def _plans_of(structure: Tensor) -> dict[int | None, Any]:
    """The masks of a row, by sliding window: computed in the first layer, re-used in all others."""
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
    """(start, end) of each run: one long document, or several short documents."""
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
