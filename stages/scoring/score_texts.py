"""Summed log-probs or rewards of given completions, from a language model or a model with a scalar head."""

from collections.abc import Sequence
from typing import Any

import torch

from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import (
    choose_layout,
    group_of,
    in_passes,
    prepared,
    sequence_logps,
    sequence_rewards,
    unordered,
)


def logprobs_of(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, micro_batch_tokens: int = 16384
) -> list[float]:
    """The summed log-prob of each completion after its prompt, in nats, in order. Pairs hold token ids."""
    return _scored(model, pairs, micro_batch_tokens, is_reward=False)


def rewards_of(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, micro_batch_tokens: int = 16384
) -> list[float]:
    """The reward of each completion after its prompt by a model with a scalar head, in order. Pairs hold token ids."""
    return _scored(model, pairs, micro_batch_tokens, is_reward=True)


def _scored(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], micro_batch_tokens: int, *, is_reward: bool
) -> list[float]:
    """Group completions of equal prompts, which then share one copy of the prompt, and restore the order."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, _) in enumerate(pairs):
        places.setdefault(tuple(prompt), []).append(place)
    examples = [unordered(prompt, [pairs[i][1] for i in members]) for prompt, members in places.items()]
    layout, _ = choose_layout(model, examples)
    scores: dict[int, float] = {}
    with torch.inference_mode(), prepared(model, layout):
        for members in in_passes([group_of(example) for example in examples], layout, micro_batch_tokens):
            batch = collate([examples[i] for i in members]).to(model.device)
            if is_reward:
                values = sequence_rewards(model, batch, layout).reward_N
            else:
                values = sequence_logps(model, batch, layout).sum_N
            scored = [place for i in members for place in places[examples[i].prompt_token_ids]]
            scores |= dict(zip(scored, values.tolist(), strict=True))
    return [scores[place] for place in range(len(pairs))]
