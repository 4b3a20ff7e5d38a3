"""Golden vectors: losses and gradients that were worked out elsewhere, compared with those of this code.

A file is a JSON object: the name of a loss -> a list of cases, see tests/golden_vectors.json. Everything is in float64.
A gradient is with respect to the summed log-prob of each completion; for laffi, to the log-prob of each token.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hasse.data.errors import SourceError
from hasse.stages.order.partial_order import from_levels
from hasse.stages.train import losses
from hasse.stages.train.loss_terms import penalised_reward
from hasse.stages.train.methods import gap_reward, rescue

FLOAT = torch.float64
TOLERANCE = 1e-9

Case = dict[str, Any]
Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One number of one case, as the file has it and as the code computes it."""

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
    """One check for each number of each case. Raises SourceError for a file of another shape."""
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
    levels = case["levels"]
    logp_N, length_N = _sums(case["token_logps"])
    target_B = torch.tensor([-1 if case["target"] is None else case["target"]])
    policy, batch = losses.completions(logp_N, length_N, pairs_P2=_ordered(levels), target_B=target_B)
    settings = rescue.Settings(alpha=case["alpha"], margin=case["margin"])
    loss, metrics = rescue.objective(policy, batch, settings, torch.tensor(case["length_exponents"], dtype=FLOAT))
    return {"loss": loss.item(), "ranking_loss": float(metrics["rank"][0]), "grad": _gradient(loss, logp_N)}


def _tuna(case: Case) -> Values:
    ranks = case["ranks"]
    logp_N, length_N = _sums([*case["token_logps"], case["reference_token_logps"]])
    loss, means = losses.tuna(
        logp_N,
        length_N,
        pairs_P2=_ordered([-rank for rank in ranks]),
        rank_N=torch.tensor([*ranks, 0]),
        target_B=torch.tensor([len(ranks)]),
        margin=case["margin"],
        mle_weight=case["mle_weight"],
        length_exponent=case["length_exponent"],
    )
    *grad, grad_reference = _gradient(loss, logp_N)
    return {"loss": loss.item(), "ranking_loss": means["rank"], "grad": grad, "grad_reference": grad_reference}


def _minor_sft(case: Case) -> Values:
    logp_N, length_N = _sums([case["token_logps"]])
    reference_N, _ = _sums([case["reference_token_logps"]])

    def loss_of(form: str) -> losses.LossAndMeans:
        beta, reference = float(case["beta"]), reference_N.detach()
        return losses.minor_sft(logp_N, length_N, reference_logp_N=reference, beta=beta, form=form)

    loss, means = loss_of("weighted")
    (grad,) = _gradient(loss, logp_N)
    return {"loss": loss.item(), "grad": grad, **means, "loss_form_b": loss_of("log_sigmoid")[0].item()}


def _minor_dpo(case: Case) -> Values:
    logp_N, _ = _sums([[case["chosen"]], [case["rejected"]]])
    reference_N = torch.tensor([case["chosen_reference"], case["rejected_reference"]], dtype=FLOAT)
    pairs_P2 = torch.tensor([[0, 1]])
    loss, _ = losses.minor_dpo(logp_N, reference_logp_N=reference_N, pairs_P2=pairs_P2, beta=case["beta"])
    chosen, rejected = _gradient(loss, logp_N)
    return {"loss": loss.item(), "grad_chosen": chosen, "grad_rejected": rejected}


def _pit_gap(case: Case) -> Values:
    rewards = [float(case["gap_rewards"][order]) for order in gap_reward.ORDERS]
    reward_B4 = torch.tensor([rewards], dtype=FLOAT, requires_grad=True)
    loss, _ = losses.gap_reward(reward_B4)
    (grad,) = _gradient(loss, reward_B4)
    return {"loss": loss.item(), "grad": dict(zip(gap_reward.ORDERS, grad, strict=True))}


def _pit_reward(case: Case) -> Values:
    gap_N = torch.tensor([case["gap_reward"]], dtype=FLOAT)
    (policy_N, _), (anchor_N, _) = (_sums([case[field]]) for field in ("token_logps", "anchor_token_logps"))
    return {"reward": penalised_reward(gap_N, policy_N, anchor_N, beta=case["beta"]).item()}


def _laffi(case: Case) -> Values:
    token_T = [torch.tensor(row, dtype=FLOAT, requires_grad=True) for row in case["token_logps"]]
    kept = [t[torch.tensor(mask, dtype=torch.bool)] for t, mask in zip(token_T, case["mask"], strict=True)]
    loss, _ = losses.laffi(torch.cat(kept))
    grads = torch.autograd.grad(loss, token_T, materialize_grads=True)
    return {"loss": loss.item(), "grad": [grad.tolist() for grad in grads]}


LOSSES: dict[str, Callable[[Case], Values]] = {
    "rescue": _rescue,
    "tuna": _tuna,
    "minor_sft": _minor_sft,
    "minor_dpo": _minor_dpo,
    "pit_gap": _pit_gap,
    "pit_reward": _pit_reward,
    "laffi": _laffi,
}


def _sums(token_logps: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Summed log-probs, which collect the gradient, and lengths, both [N]."""
    sums = [torch.tensor(values, dtype=FLOAT).sum() for values in token_logps]
    return torch.stack(sums).requires_grad_(), torch.tensor([len(values) for values in token_logps])


def _ordered(levels: list[float]) -> Tensor:
    """The pairs (higher, lower) of these levels, [P, 2]."""
    order = from_levels("golden", {str(i): level for i, level in enumerate(levels)})
    pairs = [(int(pair.above), int(pair.below)) for pair in order.pairs]
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)


def _gradient(loss: Tensor, inputs: Tensor) -> list[Any]:
    return torch.autograd.grad(loss, inputs, retain_graph=True)[0].tolist()


def _pairs(name: str, expected: Any, actual: Any) -> Iterator[tuple[str, float, float]]:
    """(field, expected, actual) of every number. Where the actual value has another shape, it counts as NaN."""
    if isinstance(expected, dict):
        for key in expected:
            yield from _pairs(f"{name}.{key}", expected[key], actual.get(key, float("nan")))
    elif isinstance(expected, list):
        short = not isinstance(actual, list) or len(actual) != len(expected)
        for i, value in enumerate(expected):
            yield from _pairs(f"{name}[{i}]", value, float("nan") if short else actual[i])
    else:
        yield name, float(expected), float(actual)
