"""What must hold for every method's loss: no batch, padding, order of candidates or cut of a step changes it."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hasse.data.settings import registry
from hasse.pipeline.code import modules_behind
from hasse.stages.scoring.batch import collate, totals
from hasse.stages.scoring.score import sequence_logps, sequence_rewards

METHODS = "hasse.stages.train.methods"

VARIANTS = {
    "best_of_k": {},
    "dpo": {"beta": 0.5},
    "dpo_sft": {"beta": 0.5, "target": "best"},
    "gap_reward": {},
    "laffi": {"aux_answer_weight": 0.7},
    "minor_dpo": {"beta": 0.5},
    "minor_sft": {"beta": 0.5, "target": "best"},
    "minor_sft log_sigmoid": {"beta": 0.5, "form": "log_sigmoid", "target": "best"},
    "minor_sft length_robust": {"beta": 2.0, "brake": "length_robust", "target": "best"},
    "rescue": {"alpha": 0.5, "margin": 0.3},
    "rescue mean": {"alpha": 0.5, "margin": 0.3, "pair_reduction": "mean", "length_exponent": 0.8},
    "rescue braked": {"alpha": 0.5, "margin": 0.3, "anchor": "minor_sft", "anchor_beta": 0.5},
    "sft": {"target": "best"},
    "tuna": {"margin": 0.4},
    "tuna authors": {"margin": 0.4, "rank_reduction": "mean_per_gap", "mle_target": "all_candidates"},
    "tuna best": {"margin": 0.4, "mle_target": "best", "length_exponent": 0.7},
}


def method_of(variant):
    return registry.load(METHODS, variant.split()[0], kind="method")


def settings_of(variant):
    return method_of(variant).Settings(**VARIANTS[variant])


def test_every_method_with_a_loss_is_here():
    with_loss = {n for n in registry.names(METHODS) if hasattr(registry.load(METHODS, n, kind="method"), "loss")}
    assert {variant.split()[0] for variant in VARIANTS} == with_loss


def examples_of(variant, make_example):
    """Three prompts of different lengths, with what the method learns from."""
    if variant.startswith("gap_reward"):
        made = [
            make_example([1, 5], [[4, 8, 2], [3, 2], [11, 12, 2], [9, 2]]),
            make_example([1, 6, 6], [[10, 2], [20, 21, 22, 2], [7, 2], [8, 2]]),
            make_example([1, 7, 7, 8], [[9, 2], [9, 9, 2], [3, 3, 3, 2], [30, 2]]),
        ]
    elif variant.startswith("laffi"):
        made = [
            make_example([1, 5, 9], [[4, 8, 2]], sources=["feedback"]),
            make_example([1, 6], [[20, 21, 22, 2]], sources=["human"]),
            make_example([1, 7, 7, 7, 8], [[9, 9, 2]], sources=["feedback"]),
        ]
    else:
        levels = [[3.0, 2.0, 2.0, 1.0], [1.0, 2.0], [2.0, 3.0, 1.0, 1.0]]
        made = [
            make_example([1, 5, 9], [[4, 8, 2], [3, 2], [11, 12, 13, 14, 2], [6, 2]], target=0, levels=levels[0]),
            make_example([1, 6], [[10, 2], [20, 21, 22, 2]], target=1, levels=levels[1]),
            make_example([1, 7, 7, 7, 8], [[9, 2], [9, 9, 2], [3, 3, 3, 2], [30, 2]], target=1, levels=levels[2]),
        ]
        made = [replace(e, pairs=pairs_of(e)) for e in made]
    draw = random.Random(1)
    named = [replace(e, prompt_id=f"p{i}") for i, e in enumerate(made)]
    return [
        replace(e, reference_logps=tuple(-3.4 * len(c.token_ids) + draw.uniform(-1, 1) for c in e.completions))
        for e in named
    ]


def pairs_of(example):
    from hasse.data.records import PairIndex

    level = [c.level for c in example.completions]
    return tuple(
        PairIndex(above=i, below=j) for i in range(len(level)) for j in range(len(level)) if level[i] > level[j]
    )


def prepared(variant, examples):
    method, settings = method_of(variant), settings_of(variant)
    return [p for e in examples if (p := method.prepare(e, settings)) is not None]


def step_loss(model, variant, parts):
    """The loss and gradients of one step, taken in these micro-batches."""
    method, settings = method_of(variant), settings_of(variant)
    forward = sequence_rewards if getattr(method, "HEAD", None) == "reward" else sequence_logps
    model.zero_grad()
    step = totals([example for part in parts for example in part], getattr(method, "step_sums", None))
    value = 0.0
    for part in parts:
        batch = replace(collate(part), step=step)
        loss, metrics = method.loss(forward(model, batch), batch, settings)
        loss.backward()
        value += loss.item()
        assert all(float(count) >= 0 for _, count in metrics.values())
    return value, torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])


@pytest.fixture
def model(request, tiny_model):
    variant = request.node.callspec.params["variant"]
    if not variant.startswith("gap_reward"):
        return tiny_model
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(**{**tiny_model.config.to_dict(), "num_labels": 1})
    return LlamaForSequenceClassification(config).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_does_not_depend_on_how_the_step_is_cut_or_padded(variant, model, make_example):
    a, b, c = prepared(variant, examples_of(variant, make_example))
    whole, gradient = step_loss(model, variant, [[a, b, c]])
    assert abs(whole) > 1e-3
    assert gradient.abs().max() > 1e-4
    for parts in ([[a], [b], [c]], [[a, b], [c]], [[c], [b, a]]):
        value, other = step_loss(model, variant, parts)
        assert value == pytest.approx(whole, rel=1e-5)
        torch.testing.assert_close(other, gradient, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.startswith(("gap_reward", "laffi"))])
def test_the_loss_does_not_depend_on_the_order_of_candidates(variant, model, make_example):
    examples = examples_of(variant, make_example)
    whole, gradient = step_loss(model, variant, [prepared(variant, examples)])
    turned = [permuted(e, list(reversed(range(len(e.completions))))) for e in examples]
    value, other = step_loss(model, variant, [prepared(variant, turned)])
    assert value == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(other, gradient, rtol=1e-3, atol=2e-6)


def permuted(example, order):
    place = {old: new for new, old in enumerate(order)}
    return replace(
        example,
        completions=tuple(example.completions[i] for i in order),
        reference_logps=tuple(example.reference_logps[i] for i in order),
        pairs=tuple(replace(p, above=place[p.above], below=place[p.below]) for p in example.pairs),
        target=None if example.target is None else place[example.target],
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_falls(variant, model, make_example):
    examples = prepared(variant, examples_of(variant, make_example))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    first, _ = step_loss(model, variant, [examples])
    for _ in range(40):
        step_loss(model, variant, [examples])
        optimiser.step()
    last, _ = step_loss(model, variant, [examples])
    assert last < first - 0.05 * abs(first)


@pytest.mark.parametrize("name", registry.names(METHODS))
def test_every_option_is_read_by_the_method_itself(name):
    """Or, where a method is a chain of steps, by the plan that makes the chain."""
    root = Path(__file__).parents[4]
    module = registry.load(METHODS, name, kind="method")
    files = [
        root / f"{part.removeprefix('hasse.').replace('.', '/')}.py"
        for part in modules_behind(registry.modules(METHODS, name))
        if part.startswith(METHODS)
    ]
    source = "".join(path.read_text() for path in [*files, root / "flows/plan/pit.py"])
    for option in set(module.Settings.model_fields) - {"method"}:
        assert f"settings.{option}" in source or f"method.{option}" in source, f"{name}.{option} is read nowhere"
