"""What a model, or one with a scalar head, says of given completions."""

from collections.abc import Sequence
from typing import Any

import torch

from hasse.data.records import Completion, TrainingExample
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import choose_layout, group_of, in_passes, prepared, sequence_logps, sequence_rewards


def logprobs_of(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, micro_batch_tokens: int = 16384
) -> list[float]:
    """Summed log-prob of each completion after its prompt, both as token ids, nats, in order."""
    return _scored(model, pairs, micro_batch_tokens, is_reward=False)


def rewards_of(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, micro_batch_tokens: int = 16384
) -> list[float]:
    """What a model with a scalar head says of each completion after its prompt, in order."""
    return _scored(model, pairs, micro_batch_tokens, is_reward=True)


def _scored(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], micro_batch_tokens: int, *, is_reward: bool
) -> list[float]:
    """Equal prompts share their copy, whatever the order in which they come."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, (prompt, _) in enumerate(pairs):
        places.setdefault(tuple(prompt), []).append(place)
    examples = [_unordered(prompt, [pairs[i][1] for i in members]) for prompt, members in places.items()]
    layout, _ = choose_layout(model, examples)
    found: dict[int, float] = {}
    with torch.inference_mode(), prepared(model, layout):
        for members in in_passes([group_of(example) for example in examples], layout, micro_batch_tokens):
            batch = collate([examples[i] for i in members]).to(model.device)
            if is_reward:
                values = sequence_rewards(model, batch, layout).reward_N
            else:
                values = sequence_logps(model, batch, layout).sum_N
            asked = [place for i in members for place in places[examples[i].prompt_token_ids]]
            found |= dict(zip(asked, values.tolist(), strict=True))
    return [found[place] for place in range(len(pairs))]


def _unordered(prompt: tuple[int, ...], completions: list[Sequence[int]]) -> TrainingExample:
    return TrainingExample(
        prompt_id="",
        cluster_id="",
        prompt_token_ids=prompt,
        completions=tuple(Completion(candidate_id="", token_ids=tuple(ids), source="") for ids in completions),
    )
