"""Golden vectors: losses and gradients worked out elsewhere, against the very functions that training calls.

A file is JSON: the name of a loss -> a list of cases (see tests/golden_vectors.json). Everything is in float64; a
gradient is with respect to each completion's summed log-prob, for laffi to each token's.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hasse.data.errors import SourceError
from hasse.data.records import Completion, PairIndex, TrainingExample
from hasse.stages.order.partial_order import from_levels
from hasse.stages.scoring.batch import CandidateBatch, SequenceLogps, SequenceRewards, collate, totals
from hasse.stages.train.loss_terms import penalised_reward
from hasse.stages.train.methods import gap_reward, laffi, minor_dpo, minor_sft, rescue, tuna

TOLERANCE = 1e-9

Case = dict[str, Any]
Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One number of one case."""

    loss: str
    case: int
    field: str
    expected: float
    actual: float

    @property
    def difference(self) -> float:
        return abs(self.expected - self.actual)

    @property
    def ok(self) -> bool:
        return self.difference <= TOLERANCE  # False for NaN


def check_file(path: Path) -> list[Check]:
    """Every number of every case. Raises SourceError for a file that is not of that shape."""
    try:
        cases = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot be read as JSON: {error}", file=path) from error
    if not isinstance(cases, dict):
        raise SourceError("must be an object: name of a loss -> list of cases", file=path)
    return list(_checks(cases, path))


def _checks(cases: dict[str, Any], path: Path) -> Iterator[Check]:
    for loss, rows in cases.items():
        if not isinstance(rows, list):  # a comment
            continue
        if loss not in LOSSES:
            raise SourceError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}", file=path)
        for number, case in enumerate(rows):
            try:
                actual = LOSSES[loss](case)
            except (KeyError, TypeError) as error:
                raise SourceError(f"{loss}: a case lacks or misuses the field {error}", file=path, row=number) from None
            for field, value in actual.items():
                if field in case:
                    for name, e, a in _pairs(field, case[field], value):
                        yield Check(loss=loss, case=number, field=name, expected=e, actual=a)


def _rescue(case: Case) -> Values:
    example = _ordered(case["token_logps"], case["levels"], target=case["target"])
    policy, batch = _policy(case["token_logps"], example)
    settings = rescue.Settings(alpha=case["alpha"], margin=case["margin"])
    exponent_N = torch.tensor(case["length_exponents"], dtype=torch.float64)
    loss, metrics = rescue.objective(policy, batch, settings, exponent_N)
    return {"loss": loss.item(), "ranking_loss": float(metrics["rank"][0]), "grad": _gradient(loss, policy.sum_N)}


def _tuna(case: Case) -> Values:
    answers, reference = case["token_logps"], case["reference_token_logps"]
    example = _ordered(answers, [-rank for rank in case["ranks"]], target=None)
    expert = Completion(candidate_id="reference", token_ids=(0,) * len(reference), source="human")
    example = replace(example, completions=(*example.completions, expert))
    settings = tuna.Settings(
        margin=case["margin"], mle_weight=case["mle_weight"], length_exponent=case["length_exponent"]
    )
    prepared = tuna.prepare(example, settings) or replace(example, target=len(answers))
    policy, batch = _policy([*answers, reference], prepared)
    batch = replace(batch, step=totals([prepared], tuna.step_sums))
    loss, metrics = tuna.loss(policy, batch, settings)
    *grad, grad_reference = _gradient(loss, policy.sum_N)
    rank = float(metrics["rank"][0])
    return {"loss": loss.item(), "ranking_loss": rank, "grad": grad, "grad_reference": grad_reference}


def _minor_sft(case: Case) -> Values:
    example = _plain([case["token_logps"]], target=0, reference=(sum(case["reference_token_logps"]),))
    settings = {form: minor_sft.Settings(beta=float(case["beta"]), form=form) for form in ("weighted", "log_sigmoid")}
    policy, batch = _policy([case["token_logps"]], example)
    loss, metrics = minor_sft.loss(policy, batch, settings["weighted"])
    (grad,) = _gradient(loss, policy.sum_N)
    found = {"loss": loss.item(), "grad": grad, "weight": float(metrics["weight"][0])}
    found["deviation"] = float(metrics["deviation"][0])
    found["loss_form_b"] = minor_sft.loss(policy, batch, settings["log_sigmoid"])[0].item()
    return found


def _minor_dpo(case: Case) -> Values:
    pair = [[case["chosen"]], [case["rejected"]]]
    example = _plain(pair, target=None, reference=(case["chosen_reference"], case["rejected_reference"]))
    example = replace(example, pairs=(PairIndex(above=0, below=1),))
    policy, batch = _policy(pair, example)
    batch = replace(batch, step=totals([example], minor_dpo.step_sums))
    loss, _ = minor_dpo.loss(policy, batch, minor_dpo.Settings(beta=case["beta"]))
    chosen, rejected = _gradient(loss, policy.sum_N)
    return {"loss": loss.item(), "grad_chosen": chosen, "grad_rejected": rejected}


def _pit_gap(case: Case) -> Values:
    rewards = [float(case["gap_rewards"][order]) for order in gap_reward.ORDERS]
    example = _plain([[0.0]] * 4, target=None)
    reward_N = torch.tensor(rewards, dtype=torch.float64, requires_grad=True)
    loss, _ = gap_reward.loss(SequenceRewards(reward_N), collate([example]), gap_reward.Settings())
    return {"loss": loss.item(), "grad": dict(zip(gap_reward.ORDERS, _gradient(loss, reward_N), strict=True))}


def _pit_reward(case: Case) -> Values:
    logp_T, anchor_T = (torch.tensor(case[k], dtype=torch.float64) for k in ("token_logps", "anchor_token_logps"))
    gap_N = torch.tensor([case["gap_reward"]], dtype=torch.float64)
    policy, anchor = (SequenceLogps.from_tokens(t, torch.tensor([len(t)])) for t in (logp_T, anchor_T))
    return {"reward": penalised_reward(gap_N, policy.sum_N, anchor.sum_N, beta=case["beta"]).item()}


def _laffi(case: Case) -> Values:
    token_T = [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in case["token_logps"]]
    kept = [t[torch.tensor(mask, dtype=torch.bool)] for t, mask in zip(token_T, case["mask"], strict=True)]
    examples = [_plain([k.tolist()], target=None, source="feedback") for k in kept if len(k)]
    batch = replace(collate(examples), step=totals(examples, laffi.step_sums))
    loss, _ = laffi.loss(SequenceLogps.from_tokens(torch.cat(kept), batch.length_N), batch, laffi.Settings())
    grads = torch.autograd.grad(loss, token_T, materialize_grads=True)
    return {"loss": loss.item(), "grad": [g.tolist() for g in grads]}


LOSSES: dict[str, Callable[[Case], Values]] = {
    "rescue": _rescue,
    "tuna": _tuna,
    "minor_sft": _minor_sft,
    "minor_dpo": _minor_dpo,
    "pit_gap": _pit_gap,
    "pit_reward": _pit_reward,
    "laffi": _laffi,
}


def _plain(
    token_logps: list[list[float]],
    *,
    target: int | None,
    reference: tuple[float, ...] | None = None,
    source: str = "student",
) -> TrainingExample:
    """An example with as many tokens a completion as there are log-probs; the tokens themselves say nothing."""
    completions = tuple(
        Completion(candidate_id=str(i), token_ids=(i,) * len(values), source=source)
        for i, values in enumerate(token_logps)
    )
    return TrainingExample(
        prompt_id="golden",
        cluster_id="golden",
        prompt_token_ids=(0,),
        completions=completions,
        target=target,
        reference_logps=reference,
    )


def _ordered(token_logps: list[list[float]], levels: list[float], *, target: int | None) -> TrainingExample:
    """With the pairs that these levels make."""
    example = _plain(token_logps, target=target)
    order = from_levels("golden", {c.candidate_id: v for c, v in zip(example.completions, levels, strict=True)})
    pairs = tuple(PairIndex(above=int(pair.above), below=int(pair.below)) for pair in order.pairs)
    completions = (replace(c, level=float(level)) for c, level in zip(example.completions, levels, strict=True))
    return replace(example, completions=tuple(completions), pairs=pairs)


def _policy(token_logps: list[list[float]], example: TrainingExample) -> tuple[SequenceLogps, CandidateBatch]:
    """These log-probs in place of a model's; their sums collect the gradient."""
    batch = collate([example])
    flat_T = torch.tensor([value for values in token_logps for value in values], dtype=torch.float64)
    policy = SequenceLogps.from_tokens(flat_T, batch.length_N)
    return replace(policy, sum_N=policy.sum_N.requires_grad_()), batch


def _gradient(loss: Tensor, inputs: Tensor) -> list[float]:
    return torch.autograd.grad(loss, inputs, retain_graph=True)[0].tolist()


def _pairs(name: str, expected: Any, actual: Any) -> Iterator[tuple[str, float, float]]:
    """(field, expected, actual) of every number; a shape that differs counts as NaN."""
    if isinstance(expected, dict):
        for key in expected:
            yield from _pairs(f"{name}.{key}", expected[key], actual.get(key, float("nan")))
    elif isinstance(expected, list):
        short = not isinstance(actual, list) or len(actual) != len(expected)
        for i, value in enumerate(expected):
            yield from _pairs(f"{name}[{i}]", value, float("nan") if short else actual[i])
    else:
        yield name, float(expected), float(actual)
