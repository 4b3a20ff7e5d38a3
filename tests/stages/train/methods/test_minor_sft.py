"""MinorSFT's loss against numbers worked out on paper."""

import math
from dataclasses import replace

import pytest
import torch

from hasse.stages.scoring.batch import SequenceLogps, collate
from hasse.stages.train.methods import minor_sft

V1 = ([-0.9, -1.1, -0.7, -1.3], [-1.0, -1.2, -1.1, -1.5])
V2 = ([-2.0, -1.5, -1.0], [-1.5, -1.2, -0.9])
V4 = ([-0.2] * 20, [-0.45] * 20)


def loss_of(rows, make_example, **settings):
    examples = [
        replace(make_example([1], [[5] * len(theta)], target=0, prompt_id=str(i)), reference_logps=(sum(reference),))
        for i, (theta, reference) in enumerate(rows)
    ]
    batch = collate(examples)
    sums = torch.tensor([sum(theta) for theta, _ in rows], dtype=torch.float64, requires_grad=True)
    policy = SequenceLogps(torch.empty(0), torch.empty(0), sums, batch.length_N)
    loss, metrics = minor_sft.loss(policy, batch, minor_sft.Settings(**settings))
    loss.backward()
    assert sums.grad is not None
    return loss.item(), sums.grad.tolist(), {name: float(total) / float(n) for name, (total, n) in metrics.items()}


@pytest.mark.parametrize(
    ("vector", "beta", "weight", "a", "b", "gradient"),
    [
        (V1, 0.1, 0.960021319689, 0.960021319689, 3.269734836588, -0.240005329922),
        (V2, 0.1, 1.044969649584, 1.567454474375, 4.927728926837, -0.348323216528),
        (V4, 0.5, 0.151716360042, 0.030343272008, 0.015777946859, -0.007585818002),
    ],
)
def test_both_forms_worked_on_paper(make_example, vector, beta, weight, a, b, gradient):
    loss, grad, metrics = loss_of([vector], make_example, beta=beta)
    assert (loss, grad[0], metrics["weight"]) == pytest.approx((a, gradient, weight), abs=1e-11)
    loss, grad, _ = loss_of([vector], make_example, beta=beta, form="log_sigmoid")
    assert (loss, grad[0]) == pytest.approx((b, gradient), abs=1e-11)


def test_the_mean_is_over_answers(make_example):
    loss, grad, metrics = loss_of([V1, V2, V4], make_example, beta=0.1)
    assert loss == pytest.approx(0.892830687194, abs=1e-11)
    assert grad == pytest.approx([-0.080001776641, -0.116107738843, -0.01258468896], abs=1e-11)
    assert metrics["deviation"] == pytest.approx(0.05)


def test_the_weight_is_held_constant(make_example):
    _, grad, _ = loss_of([V1], make_example, beta=0.1)
    assert grad[0] != pytest.approx(-0.289925415178, abs=1e-6)


def test_beta_zero_is_sft(make_example):
    loss, grad, _ = loss_of([V1, V2], make_example, beta=0.0)
    assert loss == pytest.approx((1.0 + 1.5) / 2)
    assert grad == pytest.approx([-1 / 8, -1 / 6])


def test_an_answer_at_its_reference_steps_as_sft_does(make_example):
    _, grad, metrics = loss_of([(V1[0], V1[0])], make_example, beta=0.7)
    assert (grad[0], metrics["weight"]) == pytest.approx((-0.25, 1.0))


@pytest.mark.parametrize("brake", ["summed", "length_robust"])
def test_half_weight_is_reached_at_the_tolerated_drift(make_example, brake):
    """Answers of the mean length, each token likelier by the tolerance, have weight 1/2."""
    rows = [([-1.0] * 12, [-1.2] * 12)]
    examples = [make_example([1], [[5] * 12], target=0)]
    found = minor_sft.resolve(minor_sft.Settings(beta="half_weight", tolerance=0.2, brake=brake), examples)
    assert isinstance(found.beta, float)
    assert found.beta == pytest.approx(math.log(3) / (0.2 * (12 if brake == "summed" else 1)))
    _, _, metrics = loss_of(rows, make_example, beta=found.beta, brake=brake)
    assert metrics["weight"] == pytest.approx(0.5)


@pytest.mark.parametrize(("length", "weight"), [(10, 0.950), (100, 0.538), (400, 0.036)])
def test_long_answers_are_braked_sooner_unless_length_robust(make_example, length, weight):
    rows = [([-1.0] * length, [-1.1] * length)]
    assert loss_of(rows, make_example, beta=0.1)[2]["weight"] == pytest.approx(weight, abs=5e-4)
    robust = loss_of(rows, make_example, beta=0.1, brake="length_robust")[2]["weight"]
    assert robust == pytest.approx(2 / (1 + math.exp(0.01)))


def test_examples_without_reference_log_probs_are_refused(make_example):
    batch = collate([make_example([1], [[5]], target=0)])
    policy = SequenceLogps(torch.empty(0), torch.empty(0), torch.tensor([-1.0]), batch.length_N)
    with pytest.raises(ValueError, match="no reference log-probs"):
        minor_sft.loss(policy, batch, minor_sft.Settings())
