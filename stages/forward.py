"""Response log-probs of a batch under a causal language model.

Layout: one right-padded row a completion, [prompt | response]. A loss sees only `SequenceLogps`, so another layout
(one copy of the prompt for all its responses) can take this one's place.
"""

from typing import Any

import torch
from torch import Tensor

from stages.batch import CandidateBatch, SequenceLogps, SequenceRewards


def sequence_logps(model: Any, batch: CandidateBatch) -> SequenceLogps:
    """One forward pass over the N completions; log-softmax in float32. The batch is on the model's device."""
    rows = _rows(batch)
    input_ids, attention_mask = _pad(rows)
    logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    row_T, position_T = _response_positions(batch, rows)
    logits_T = logits[row_T, position_T - 1].float()
    logp_T = torch.log_softmax(logits_T, dim=-1).gather(1, input_ids[row_T, position_T][:, None])[:, 0]
    return SequenceLogps.from_tokens(logp_T, batch.length_N)


def sequence_rewards(model: Any, batch: CandidateBatch) -> SequenceRewards:
    """One forward pass of a sequence classifier with one label, read at the last token of each completion."""
    rows = _rows(batch)
    input_ids, attention_mask = _pad(rows)
    hidden = model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    last_N = attention_mask.sum(1) - 1
    reward_N = model.score(hidden[torch.arange(len(rows), device=hidden.device), last_N])[:, 0].float()
    return SequenceRewards(reward_N)


def _rows(batch: CandidateBatch) -> list[Tensor]:
    return [
        torch.cat([batch.prompt_ids[b], response])
        for b, response in zip(batch.prompt_N.tolist(), batch.completion_ids, strict=True)
    ]


def _pad(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0)
    lengths = torch.tensor([len(row) for row in rows], device=input_ids.device)
    mask = torch.arange(input_ids.shape[1], device=input_ids.device)[None] < lengths[:, None]
    return input_ids, mask.long()


def _response_positions(batch: CandidateBatch, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(row, position) of every response token, completions one after another."""
    device = batch.length_N.device
    row_T = torch.repeat_interleave(torch.arange(len(rows), device=device), batch.length_N)
    starts = torch.tensor([len(row) for row in rows], device=device) - batch.length_N
    first_T = torch.cumsum(batch.length_N, 0) - batch.length_N
    offset_T = torch.arange(len(row_T), device=device) - first_T[row_T]
    return row_T, starts[row_T] + offset_T
