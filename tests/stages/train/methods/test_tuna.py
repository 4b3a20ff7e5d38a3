"""Tuna's loss against numbers worked out on paper, in the paper's form and in that of the authors' code."""

import math
from dataclasses import replace

import pytest
import torch

from hasse.data.records import PairIndex
from hasse.stages.scoring.batch import SequenceLogps, collate, totals
from hasse.stages.train.methods import tuna

AUTHORS = {"rank_reduction": "mean_per_gap", "mle_target": "all_candidates"}
T1 = ([[-0.5, -1.3], [-1, -1, -1.6], [-0.4, -0.6, -1.1, -0.7], [-2, -1]], [-0.8, -1.2, -1, -0.5, -1.5])
T2 = [
    ([[-0.2, -0.4], [-0.3], [-1, -2, -3]], [-0.2, -0.4]),
    ([[-2], [-0.5] * 4, [-1, -0.6]], [-1.1, -0.9, -1]),
]
T4 = ([[-0.1], [-0.5], [-1.0], [-1.6]], [-1.0])
T5 = ([[-0.7, -0.3]] * 4, [-0.7, -0.3])


def loss_of(rows, make_example, **settings):
    """The loss of prompts with candidates from best to worst and a reference, and the gradient of every sum."""
    how, examples, flat = tuna.Settings(**settings), [], []
    for number, (answers, reference) in enumerate(rows):
        lengths = [*map(len, answers), len(reference)]
        example = make_example(
            [1],
            [[i + 1] * n for i, n in enumerate(lengths)],
            levels=[*range(len(answers), 0, -1), None],
            sources=["student"] * len(answers) + ["human"],
            prompt_id=f"p{number}",
        )
        pairs = [PairIndex(above=i, below=j) for i in range(len(answers)) for j in range(i + 1, len(answers))]
        prepared = tuna.prepare(replace(example, pairs=tuple(pairs)), how)
        assert prepared is not None
        examples.append(prepared)
        flat += [math.fsum(a) for a in [*answers, reference]]
    batch = replace(collate(examples), step=totals(examples, tuna.step_sums))
    sums = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
    loss, _ = tuna.loss(SequenceLogps(torch.empty(0), torch.empty(0), sums, batch.length_N), batch, how)
    loss.backward()
    assert sums.grad is not None
    return loss.item(), sums.grad.tolist()


@pytest.mark.parametrize(
    ("rows", "settings", "expected"),
    [
        ([T1], {}, 2.0),
        ([T1], AUTHORS, 1.4181818181818),
        (T2, {}, 2.2),
        (T2, AUTHORS, 2.0865384615385),
        ([T4], {"mle_weight": 0}, 0.0),
        ([T5], {}, 1.5),
        ([T5], AUTHORS, 1.1),
    ],
)
def test_values_worked_on_paper(make_example, rows, settings, expected):
    loss, _ = loss_of(rows, make_example, **settings)
    assert loss == pytest.approx(expected, abs=1e-11)


def test_gradients_worked_on_paper(make_example):
    _, grad = loss_of([T1], make_example)
    assert grad == pytest.approx([-0.5, -1 / 3, 0.5, 0, -0.2])
    _, grad = loss_of(T2, make_example)
    assert grad[:3] == pytest.approx([-0.25, 0.5, 0])
    assert grad[4:7] == pytest.approx([-1, 0.125, 0.25])


def test_the_best_answer_as_target(make_example):
    loss, _ = loss_of([T1], make_example, margin=0, mle_target="best")
    ranking, _ = loss_of([T1], make_example, margin=0, mle_weight=0)
    assert loss - ranking == pytest.approx(0.9)


def example(make_example, levels, pairs=None, completions=None):
    made = make_example([1], completions or [[i + 3] for i in range(len(levels))], levels=levels)
    pairs = pairs or [(i, j) for i, a in enumerate(levels) for j, b in enumerate(levels) if a and b and a > b]
    return replace(made, pairs=tuple(PairIndex(above=a, below=b) for a, b in pairs))


def test_ranks_are_dense_and_ties_form_no_pair(make_example):
    found = tuna.prepare(example(make_example, [9.5, 3.0, 3.0, 0.5]), tuna.Settings())
    assert found is not None
    assert {(p.above, p.below): p.margin for p in found.pairs} == {
        (0, 1): 1,
        (0, 2): 1,
        (0, 3): 2,
        (1, 3): 1,
        (2, 3): 1,
    }


def test_without_levels_the_longest_chain_above_is_the_rank(make_example):
    made = example(make_example, [None] * 4, pairs=[(0, 1), (1, 2), (0, 2), (0, 3)])
    assert tuna.dense_ranks(made) == {0: 0, 1: 1, 2: 2, 3: 1}


def test_any_number_of_candidates_works(make_example):
    for number in (2, 3, 7):
        found = tuna.prepare(example(make_example, [float(n) for n in range(number, 0, -1)]), tuna.Settings())
        assert found is not None
        assert max(p.margin for p in found.pairs) == number - 1


def test_fewer_than_two_different_answers_are_of_no_use(make_example):
    same = example(make_example, [2.0, 1.0], completions=[[5, 2], [5, 2]])
    assert tuna.prepare(same, tuna.Settings()) is None
    assert tuna.prepare(example(make_example, [1.0, 1.0]), tuna.Settings()) is None
