"""The tensors that a loss sees: completions of some prompts, flat and ragged, whatever the forward pass's layout.

Legend: B prompts, N completions of all of them, T response tokens of all completions, P ordered pairs.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hasse.data.records import TrainingExample


@dataclass(frozen=True)
class StepTotals:
    """Totals over one optimiser step, which losses are divided by, so that micro-batches add up to the step's loss."""

    num_prompts: int
    sums: Mapping[str, float] = field(default_factory=dict)
    """Further totals by name, from the method's `step_sums`."""


@dataclass(frozen=True)
class CandidateBatch:
    """B prompts with their N completions. Token ids stay ragged until `hasse.stages.scoring.score` lays them out.

    prompt_ids: B tensors; completion_ids: N tensors, EOS included; prompt_N: the prompt of each completion;
    pairs_P2: (better, worse) as positions in N; margin_P: the margins of explicit pairs; target_B: position in N, -1
    for none; human_N: whether a person wrote the completion; length_N: response tokens; reference_N: summed log-probs
    under the frozen reference, in nats, NaN where they were not computed.
    """

    prompt_ids: tuple[Tensor, ...]
    completion_ids: tuple[Tensor, ...]
    prompt_N: Tensor
    length_N: Tensor
    human_N: Tensor
    pairs_P2: Tensor
    margin_P: Tensor
    target_B: Tensor
    reference_N: Tensor
    step: StepTotals

    @property
    def num_prompts(self) -> int:
        return len(self.prompt_ids)

    def to(self, device: torch.device) -> "CandidateBatch":
        """Move what a loss reads to the device. Token ids are moved later, as rows of a layout."""
        moved = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def only(self, completions: Sequence[int]) -> "CandidateBatch":
        """A batch of these completions (ascending positions in N) for a forward pass, without their order."""
        prompts = sorted({int(self.prompt_N[n]) for n in completions})
        place = {b: i for i, b in enumerate(prompts)}
        index = torch.tensor(completions)
        return CandidateBatch(
            prompt_ids=tuple(self.prompt_ids[b] for b in prompts),
            completion_ids=tuple(self.completion_ids[n] for n in completions),
            prompt_N=torch.tensor([place[int(self.prompt_N[n])] for n in completions]),
            length_N=self.length_N[index],
            human_N=self.human_N[index],
            pairs_P2=self.pairs_P2[:0],
            margin_P=self.margin_P[:0],
            target_B=self.target_B.new_full((len(prompts),), -1),
            reference_N=self.reference_N[index],
            step=self.step,
        )


@dataclass(frozen=True)
class SequenceLogps:
    """Log-probs of the response tokens under the policy, in nats, float32 or better.

    logp_T: one per response token, completions one after another; completion_T: the completion of each token;
    sum_N: the sum over each completion; length_N: tokens of each completion.
    """

    logp_T: Tensor
    completion_T: Tensor
    sum_N: Tensor
    length_N: Tensor

    @property
    def mean_N(self) -> Tensor:
        """Nats per token."""
        return self.sum_N / self.length_N

    @staticmethod
    def from_tokens(logp_T: Tensor, length_N: Tensor) -> "SequenceLogps":
        """Sum over completions of `length_N` consecutive tokens. Raises ValueError for a completion without tokens."""
        if bool((length_N <= 0).any()):
            raise ValueError("a completion has no response tokens; its mean log-prob is undefined")
        completion_T = torch.repeat_interleave(torch.arange(len(length_N), device=logp_T.device), length_N)
        sum_N = logp_T.new_zeros(len(length_N)).index_add(0, completion_T, logp_T)
        return SequenceLogps(logp_T, completion_T, sum_N, length_N)


@dataclass(frozen=True)
class SequenceRewards:
    """The reward of each completion after its prompt by a model with a scalar head, float32 or better."""

    reward_N: Tensor


def collate(examples: Sequence[TrainingExample]) -> CandidateBatch:
    """Make one batch of the examples. Raises ValueError for a completion without tokens or with NaN as its level."""
    prompt_N, lengths, human, pairs, margins, targets, references = [], [], [], [], [], [], []
    start = 0
    for b, example in enumerate(examples):
        _check(example)
        prompt_N += [b] * len(example.completions)
        lengths += [len(completion.token_ids) for completion in example.completions]
        human += [completion.source == "human" for completion in example.completions]
        pairs += [(start + pair.above, start + pair.below) for pair in example.pairs]
        margins += [pair.margin for pair in example.pairs]
        references += example.reference_logps or [math.nan] * len(example.completions)
        targets.append(-1 if example.target is None else start + example.target)
        start += len(example.completions)
    return CandidateBatch(
        prompt_ids=tuple(torch.tensor(example.prompt_token_ids) for example in examples),
        completion_ids=tuple(torch.tensor(c.token_ids) for example in examples for c in example.completions),
        prompt_N=torch.tensor(prompt_N),
        length_N=torch.tensor(lengths),
        human_N=torch.tensor(human),
        pairs_P2=torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
        margin_P=torch.tensor(margins, dtype=torch.float64),
        target_B=torch.tensor(targets),
        reference_N=torch.tensor(references, dtype=torch.float64),
        step=totals(examples),
    )


def totals(
    examples: Sequence[TrainingExample], step_sums: Callable[[TrainingExample], Mapping[str, float]] | None = None
) -> StepTotals:
    """The totals of an optimiser step over exactly these examples."""
    sums: Counter[str] = Counter()
    for example in examples if step_sums else ():
        sums.update(step_sums(example))  # type: ignore[misc, arg-type]
    return StepTotals(num_prompts=len(examples), sums=sums)


def _check(example: TrainingExample) -> None:
    for completion in example.completions:
        if not completion.token_ids:
            raise ValueError(f"prompt {example.prompt_id}: candidate {completion.candidate_id} has no tokens")
        if completion.level is not None and completion.level != completion.level:
            raise ValueError(f"prompt {example.prompt_id}: the level of candidate {completion.candidate_id} is NaN")
