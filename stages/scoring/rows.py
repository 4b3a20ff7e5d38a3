"""Lay out many completions in one row such that each gets the same result as alone.

A row holds documents. A document is a trunk and its branches: one copy of a prompt, and the responses to it. A token
attends to earlier tokens of its own branch and of the trunk. In every branch positions start at the trunk's end.

    shared   [prompt | response 1 | ... | response K]     a document is a prompt with its K responses
    packed   [prompt response 1][prompt response 2] ...   a document is one completion, without branches

The first token of a response is predicted from the trunk's last hidden state. The last token of a response predicts
nothing and is left out. So K responses of R tokens to a prompt of P tokens take P + K (R - 1) tokens, not K (P + R).

Legend: L tokens of the row, N completions, T response tokens of all completions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from hasse.stages.scoring.batch import CandidateBatch


@dataclass(frozen=True)
class PackedRow:
    """One row of L tokens.

    ids_L: token ids; structure_3L: for each token its document, its branch (0 is the trunk) and its position in the
    completion; predicting_T: index in L of the hidden state that predicts each response token; target_T: the response
    tokens; last_N: index in L of each completion's last token, -1 where it was left out.
    """

    ids_L: Tensor
    structure_3L: Tensor
    predicting_T: Tensor
    target_T: Tensor
    last_N: Tensor

    def to(self, device: torch.device) -> "PackedRow":
        return PackedRow(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


def lay_out(batch: CandidateBatch, *, shared: bool, keep_last: bool = False) -> PackedRow:
    """Put the batch into one row. `keep_last`: include the last token of each completion, where a reward is read.

    Raises ValueError for an empty prompt: nothing would predict the first token of its responses.
    """
    ids: list[Tensor] = []
    structure: list[Tensor] = []
    predicting: list[Tensor] = []
    last: list[int] = []
    place = document = 0
    for prompt_ids, responses in _prompts(batch):
        if not len(prompt_ids):
            raise ValueError("a prompt has no tokens; the first token of its answers could not be predicted")
        for group in [responses] if shared else [[response] for response in responses]:
            trunk = place + len(prompt_ids)
            ids.append(prompt_ids)
            structure.append(_structure(document, 0, 0, len(prompt_ids)))
            place = trunk
            for branch, response in enumerate(group, start=1):
                length = len(response) if keep_last else len(response) - 1
                ids.append(response[:length])
                structure.append(_structure(document, branch if len(group) > 1 else 0, len(prompt_ids), length))
                predicting += [torch.tensor([trunk - 1]), torch.arange(place, place + len(response) - 1)]
                last.append(place + length - 1 if keep_last else -1)
                place += length
            document += 1
    return PackedRow(
        ids_L=torch.cat(ids),
        structure_3L=torch.cat(structure, dim=1),
        predicting_T=torch.cat(predicting),
        target_T=torch.cat(batch.completion_ids),
        last_N=torch.tensor(last),
    )


def tokens_in_row(prompt_length: int, response_lengths: Sequence[int], *, shared: bool) -> int:
    """The length of the row that these responses to a prompt make."""
    prompts = 1 if shared else len(response_lengths)
    return prompts * prompt_length + sum(response_lengths) - len(response_lengths)


def bins(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Pack items into few bins by first-fit decreasing; returns the indices in each bin.

    An item that is larger than a bin gets a bin of its own.
    """
    filled: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        place = next((b for b, left in enumerate(room) if sizes[item] <= left), None)
        if place is None:
            filled.append([])
            room.append(capacity)
            place = len(room) - 1
        filled[place].append(item)
        room[place] -= sizes[item]
    return [sorted(members) for members in filled]


def _prompts(batch: CandidateBatch) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Each prompt with its completions."""
    responses: list[list[Tensor]] = [[] for _ in batch.prompt_ids]
    for b, response in zip(batch.prompt_N.tolist(), batch.completion_ids, strict=True):
        responses[b].append(response)
    yield from zip(batch.prompt_ids, responses, strict=True)


def _structure(document: int, branch: int, start: int, length: int) -> Tensor:
    position = torch.arange(start, start + length)
    return torch.stack([torch.full_like(position, document), torch.full_like(position, branch), position])
