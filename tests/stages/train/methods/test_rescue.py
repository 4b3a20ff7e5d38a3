"""The loss that training calls, against numbers worked out on paper and against its own properties."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hasse.stages.scoring.batch import SequenceLogps, collate, totals
from hasse.stages.scoring.score import sequence_logps
from hasse.stages.train.methods import rescue

GOLDEN = json.loads((Path(__file__).parents[3] / "golden_vectors.json").read_text())["rescue"]

H, C1, C2, W1, W2 = range(5)
LOGPS = [
    [-0.9, -1.1, -0.7, -1.3],
    [-0.5, -0.4, -0.6],
    [-1.2, -0.8, -1.0, -1.6, -0.9],
    [-0.2, -0.3, -0.4, -0.3],
    [-2.0, -1.5, -1.0],
]
HP = [(H, C1), (H, C2), (H, W1), (H, W2)]
LP = [(good, bad) for good in (H, C1, C2) for bad in (W1, W2)]
HYBRID = [*HP, *(pair for pair in LP if pair[0] != H)]


def batch_of(logps, pairs, target, make_example, sources=None):
    """A batch with these log-probs; the log-probs stand for the model, in float64, and collect the gradient."""
    completions = [[7] * len(values) for values in logps]
    batch = collate([make_example([5], completions, pairs=pairs, target=target, sources=sources)])
    sums = torch.tensor([math.fsum(values) for values in logps], dtype=torch.float64, requires_grad=True)
    batch = replace(batch, margin_P=batch.margin_P.double())
    return batch, SequenceLogps(torch.empty(0), torch.empty(0), sums, batch.length_N)


def loss_and_gradient(logps, pairs, make_example, *, target=0, sources=None, **settings):
    batch, policy = batch_of(logps, pairs, target, make_example, sources)
    loss, _ = rescue.loss(policy, batch, rescue.Settings(**settings))
    loss.backward()
    return loss.item(), policy.sum_N.grad.tolist()


@pytest.mark.parametrize(
    ("pairs", "settings", "expected", "gradient"),
    [
        (HP, {}, 1.12, [-0.3, 0.033333333333, 0, 0.025, 0]),
        (LP, {}, 1.17, [-0.275, -0.033333333333, -0.02, 0.075, 0]),
        (HYBRID, {}, 1.22, [-0.3, 0, -0.02, 0.075, 0]),
        (LP, {"length_exponent": 0.85}, 1.211304339128, [-0.280778610334, -0.039304921523, -0.025461002311, 0.092335831001, 0]),  # noqa: E501
        (LP, {"length_exponent": "authors"}, 1.188189897793, [-0.275, -0.039304921523, -0.025461002311, 0.092335831001, 0]),  # noqa: E501
        (HYBRID, {"margin": 0.25}, 1.335, [-0.325, 0, 0, 0.075, 0]),
    ],
)  # fmt: skip
def test_values_and_gradients_worked_on_paper(make_example, pairs, settings, expected, gradient):
    loss, grad = loss_and_gradient(LOGPS, pairs, make_example, **settings)
    assert loss == pytest.approx(expected, abs=1e-11)
    assert grad == pytest.approx(gradient, abs=1e-11)


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_golden_vectors(make_example, case):
    levels, exponents = case["levels"], case["length_exponents"]
    pairs = [(i, j) for i, a in enumerate(levels) for j, b in enumerate(levels) if a > b]
    exponent = exponents[0] if len(set(exponents)) == 1 else "authors"
    loss, grad = loss_and_gradient(
        case["token_logps"],
        pairs,
        make_example,
        target=case["target"],
        alpha=case["alpha"],
        margin=case["margin"],
        length_exponent=exponent,
    )
    assert loss == pytest.approx(case["loss"], abs=1e-9)
    assert grad == pytest.approx(case["grad"], abs=1e-9)


def test_no_pairs_leave_the_sft_term_alone(make_example):
    loss, grad = loss_and_gradient(LOGPS, [], make_example)
    assert loss == pytest.approx(1.0)
    assert grad == pytest.approx([-0.25, 0, 0, 0, 0])


def test_no_pairs_and_no_target_are_a_zero_that_back_propagates(make_example):
    loss, grad = loss_and_gradient(LOGPS, [], make_example, target=None)
    assert (loss, grad) == (0.0, [0.0] * 5)


def test_a_pair_at_its_margin_exactly_is_inactive(make_example):
    loss, grad = loss_and_gradient([[-1.0, -1.0], [-1.0, -1.0]], [(0, 1)], make_example, target=None)
    assert (loss, grad) == (0.0, [0.0, 0.0])


def test_mean_reduction_divides_by_the_pairs_of_the_prompt(make_example):
    total, _ = loss_and_gradient(LOGPS, LP, make_example, target=None, alpha=1.0)
    mean, _ = loss_and_gradient(LOGPS, LP, make_example, target=None, alpha=1.0, pair_reduction="mean")
    assert mean == pytest.approx(total / 6)


def test_metrics_count_what_is_out_of_order(make_example):
    batch, policy = batch_of(LOGPS, LP, 0, make_example)
    _, metrics = rescue.loss(policy, batch, rescue.Settings())
    wrong, pairs = metrics["violations"]
    assert (int(wrong), pairs) == (3, 6)
    assert float(metrics["rank"][0]) == pytest.approx(1.7)
    assert [float(x) for x in metrics["sft"]] == pytest.approx([1.0, 1.0])


def test_an_answer_without_tokens_and_a_level_that_is_no_number_are_refused(make_example):
    with pytest.raises(ValueError, match="prompt p: candidate c-1 has no tokens"):
        collate([make_example([5], [[7], []])])
    with pytest.raises(ValueError, match="prompt p: the level of candidate c-1 is NaN"):
        collate([make_example([5], [[7], [8]], levels=[2.0, float("nan")])])


# Properties, through a real model


def examples(make_example):
    return [
        make_example([1, 5, 9], [[4, 8, 2], [3, 2], [11, 12, 13, 14, 2]], pairs=[(0, 1), (0, 2)], target=0),
        make_example([1, 6], [[10, 2], [20, 21, 22, 2]], pairs=[(1, 0)], target=1),
        make_example([1, 7, 7, 7, 8], [[9, 2], [9, 9, 2], [3, 3, 3, 2], [30]], pairs=[(0, 3), (1, 2), (2, 3)]),
    ]


def step_loss(model, parts, settings=None):
    """The loss and gradients of one step, taken in these micro-batches."""
    model.zero_grad()
    step = totals([example for part in parts for example in part])
    value = 0.0
    for part in parts:
        batch = replace(collate(part), step=step)
        loss, _ = rescue.loss(sequence_logps(model, batch), batch, settings or rescue.Settings(alpha=0.5, margin=0.3))
        loss.backward()
        value += loss.item()
    return value, torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])


def test_loss_does_not_depend_on_how_the_step_is_cut_or_ordered(tiny_model, make_example):
    a, b, c = examples(make_example)
    whole, gradient = step_loss(tiny_model, [[a, b, c]])
    assert whole > 0
    for parts in ([[a], [b], [c]], [[a, b], [c]], [[c], [b, a]]):
        value, other = step_loss(tiny_model, parts)
        assert value == pytest.approx(whole, rel=1e-5)
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6)


def test_loss_does_not_depend_on_the_order_of_candidates(tiny_model, make_example):
    before, gradient = step_loss(
        tiny_model, [[make_example([1, 5], [[4, 2], [8, 9, 2], [3]], pairs=[(0, 1), (2, 1)], target=0)]]
    )
    turned = make_example(
        [1, 5], [[3], [4, 2], [8, 9, 2]], pairs=[(1, 2), (0, 2)], target=1, sources=["student", "human", "student"]
    )
    after, other = step_loss(tiny_model, [[turned]])
    assert after == pytest.approx(before, rel=1e-6)
    torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6)


def test_log_probs_equal_those_of_each_answer_alone(tiny_model, make_example):
    """Padding to the longest row of a batch changes nothing."""
    batch = collate(examples(make_example))
    together = sequence_logps(tiny_model, batch)
    alone = []
    for prompt, completion in (
        (e.prompt_token_ids, c.token_ids) for e in examples(make_example) for c in e.completions
    ):
        ids = torch.tensor([[*prompt, *completion]])
        logp = torch.log_softmax(tiny_model(ids).logits[0].float(), -1)
        alone.append(sum(logp[len(prompt) - 1 + i, t] for i, t in enumerate(completion)).item())
    assert together.sum_N.tolist() == pytest.approx(alone, abs=1e-5)
    assert together.length_N.tolist() == [3, 2, 5, 2, 4, 2, 3, 4, 1]


def test_the_loss_falls_and_the_pairs_get_in_order(tiny_model, make_example):
    optimiser = torch.optim.AdamW(tiny_model.parameters(), lr=3e-3)
    settings = rescue.Settings(alpha=1.0, margin=0.1)
    first, _ = step_loss(tiny_model, [examples(make_example)], settings)
    for _ in range(60):
        step_loss(tiny_model, [examples(make_example)], settings)
        optimiser.step()
    batch = collate(examples(make_example))
    last, metrics = rescue.loss(sequence_logps(tiny_model, batch), batch, settings)
    assert last.item() < first / 3
    assert int(metrics["violations"][0]) == 0


@pytest.mark.parametrize(
    ("settings", "target", "kept"),
    [
        ({}, 0, 0),
        ({"sft_term": False}, 0, None),
        ({"sft_target": "human"}, 0, 0),
        ({"sft_target": "human"}, 1, None),
    ],
)
def test_what_the_sft_term_imitates(make_example, settings, target, kept):
    example = make_example([1], [[3], [4]], pairs=[(0, 1)], target=target)
    prepared = rescue.prepare(example, rescue.Settings(**settings))
    assert prepared is not None
    assert prepared.target == kept


def test_an_example_that_teaches_nothing_is_of_no_use(make_example):
    assert rescue.prepare(make_example([1], [[3], [4]]), rescue.Settings()) is None
