"""Every option of every method does something: another value of it gives another loss on the same answers."""

from dataclasses import replace

import pytest
import torch

from hasse.data.settings import registry
from hasse.stages.scoring.batch import collate, totals
from hasse.stages.scoring.score import sequence_logps

METHODS = "hasse.stages.train.methods"

BRAKED = {"anchor": "minor_sft"}
HALF = {"beta": "half_weight"}
OTHER = [
    # method, its other settings, the option, another value than the default
    ("sft", {}, "target", "best"),
    ("dpo_sft", {}, "beta", 0.5),
    ("dpo_sft", {}, "target", "best"),
    ("dpo", {}, "beta", 0.5),
    ("minor_dpo", {}, "beta", 0.5),
    ("minor_sft", {}, "beta", 0.5),
    ("minor_sft", HALF, "tolerance", 0.5),
    ("minor_sft", {}, "form", "log_sigmoid"),
    ("minor_sft", {}, "brake", "length_robust"),
    ("minor_sft", {}, "target", "best"),
    ("rescue", {}, "alpha", 0.5),
    ("rescue", {}, "margin", 0.5),
    ("rescue", {}, "pair_reduction", "mean"),
    ("rescue", {}, "length_exponent", 0.7),
    ("rescue", {}, "length_exponent", "authors"),
    ("rescue", {}, "sft_term", False),
    ("rescue", {}, "anchor", "minor_sft"),
    ("rescue", BRAKED, "anchor_beta", 0.5),
    ("rescue", {}, "sft_target", "human"),
    ("tuna", {}, "margin", 0.5),
    ("tuna", {}, "mle_weight", 0.5),
    ("tuna", {}, "length_exponent", 0.7),
    ("tuna", {}, "rank_reduction", "mean_per_gap"),
    ("tuna", {}, "mle_target", "all_candidates"),
    ("tuna", {}, "mle_target", "best"),
    ("laffi", {}, "feedback_weight", 0.5),
    ("laffi", {}, "aux_answer_weight", 0.5),
]
NOT_HERE = {"best_of_k", "gap_reward", "pit"}
"""Without options; and PIT, whose options are about the chain: tests/flows/test_pit_options.py."""


def test_every_option_of_every_method_is_here():
    options = {
        (name, option)
        for name in set(registry.names(METHODS)) - NOT_HERE
        for option in set(registry.load(METHODS, name, kind="method").Settings.model_fields) - {"method"}
    }
    assert {(method, option) for method, _, option, _ in OTHER} == options


@pytest.mark.parametrize(("name", "base", "option", "value"), OTHER)
def test_another_value_gives_another_loss(name, base, option, value, tiny_model, make_example):
    method = registry.load(METHODS, name, kind="method")
    default, other = method.Settings(**base), method.Settings(**base, **{option: value})
    assert getattr(default, option) != value
    examples = feedback(make_example) if name == "laffi" else ordered(make_example)
    found, again, changed = (loss(tiny_model, method, settings, examples) for settings in (default, default, other))
    assert found == again
    assert abs(changed - found) > 1e-4 * abs(found)


def loss(model, method, settings, examples):
    used = [p for e in examples if (p := method.prepare(e, settings)) is not None]
    if hasattr(method, "resolve"):
        settings = method.resolve(settings, used)
    batch = replace(collate(used), step=totals(used, getattr(method, "step_sums", None)))
    with torch.inference_mode():
        return method.loss(sequence_logps(model, batch), batch, settings)[0].item()


def ordered(make_example):
    """A prompt with an expert's answer at the top, and one whose best answer is the student's own."""
    made = [
        make_example(
            [1, 5, 9],
            [[4, 8, 2], [3, 2], [11, 12, 13, 14, 2]],
            pairs=[(0, 1), (0, 2), (1, 2)],
            target=0,
            levels=[3.0, 2.0, 1.0],
        ),
        make_example(
            [1, 6],
            [[10, 2], [20, 21, 22, 2]],
            pairs=[(1, 0)],
            target=1,
            levels=[1.0, 2.0],
            sources=["student", "student"],
        ),
    ]
    deviation = {3: -9.0, 2: -8.0, 5: -16.0, 4: -12.5}
    return [replace(e, reference_logps=tuple(deviation[len(c.token_ids)] for c in e.completions)) for e in made]


def feedback(make_example):
    return [
        make_example([1, 5, 9], [[4, 8, 2]], sources=["feedback"]),
        make_example([1, 6], [[20, 21, 22, 2]], sources=["human"]),
    ]
