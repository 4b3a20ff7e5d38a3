"""Compute once what the prompts of a batch have in common, before their answers are sampled.

Several samples of one prompt share the whole prompt, and prompts with the same instruction and demonstrations share
their beginning. The keys and values of these tokens are computed once and copied to the rows that need them, so a
prompt with n samples costs one forward pass and not n.

Legend: N sequences, U different prompts, L tokens of the longest prompt, P tokens with which all prompts begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WORTH_SHARING = 16
"""A common beginning of fewer tokens is computed with each prompt: its own forward pass would cost as much."""


def prefill(model: Any, prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor, Any]:
    """(input ids [N, L], attention mask [N, L], cache of the first L - 1 tokens of each row, or None).

    Padding stands before the tokens in which a prompt differs from the others. The cache is None where nothing would
    be saved, and for models whose state is more than the keys and values of tokens.
    """
    import torch

    index_N, unique = _different(prompts)
    shared = _common_beginning(unique) if _sees_all_tokens(model) else 0
    shared = shared if len(unique) > 1 and shared >= WORTH_SHARING else 0
    ids_UL, mask_UL = _padded(unique, pad_id, shared, model.device)
    rows_N = torch.tensor(index_N, device=model.device)
    cache = None
    if ids_UL.shape[1] > 1 and (shared or len(unique) < len(prompts)):
        cache = _cache_of(model, ids_UL, mask_UL, shared)
    if cache is not None:
        cache.batch_select_indices(rows_N)
    return ids_UL[rows_N], mask_UL[rows_N], cache


def _different(prompts: Sequence[Sequence[int]]) -> tuple[list[int], list[tuple[int, ...]]]:
    """(the place of each prompt among the different ones, the different ones)."""
    places: dict[tuple[int, ...], int] = {}
    return [places.setdefault(tuple(ids), len(places)) for ids in prompts], list(places)


def _common_beginning(prompts: Sequence[tuple[int, ...]]) -> int:
    """The number of tokens with which all prompts begin; the last token of each prompt does not count."""
    shortest = min(len(ids) for ids in prompts) - 1
    first, last = min(prompts), max(prompts)  # what the extremes share in order, all between them share
    return next((i for i in range(shortest) if first[i] != last[i]), shortest)


def _sees_all_tokens(model: Any) -> bool:
    """Whether every layer attends to all tokens; one with a window would count the padding within it."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return kinds <= {"full_attention"} and getattr(config, "sliding_window", None) is None


def _padded(prompts: Sequence[Sequence[int]], pad_id: int, shared: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and mask, [U, L] each, with the padding after the first `shared` tokens."""
    import torch

    width = max(len(ids) for ids in prompts)
    gaps = [width - len(ids) for ids in prompts]
    rows = [[*ids[:shared], *[pad_id] * gap, *ids[shared:]] for ids, gap in zip(prompts, gaps, strict=True)]
    masks = [[1] * shared + [0] * gap + [1] * (width - shared - gap) for gap in gaps]
    return torch.tensor(rows, device=device), torch.tensor(masks, device=device)


def _cache_of(model: Any, ids_UL: Tensor, mask_UL: Tensor, shared: int) -> Any:
    """The keys and values of all but the last token of each prompt; None if the model keeps another state."""
    import torch
    from transformers import DynamicCache

    if model._is_stateful or not model._supports_default_dynamic_cache():
        return None
    decoder = model.get_decoder()
    cache = DynamicCache(config=model.config)
    positions_UL = (mask_UL.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        if shared:
            decoder(input_ids=ids_UL[:1, :shared], past_key_values=cache, use_cache=True)
            cache.batch_repeat_interleave(len(ids_UL))
        if ids_UL.shape[1] - 1 > shared:
            decoder(
                input_ids=ids_UL[:, shared:-1],
                attention_mask=mask_UL[:, :-1],
                position_ids=positions_UL[:, shared:-1],
                past_key_values=cache,
                use_cache=True,
            )
    return cache
