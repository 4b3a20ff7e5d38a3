"""Every option of PIT reaches the step of its chain that it is about, and no other trained model."""

import pytest

from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe
from hasse.stages.train.methods import pit

EVALUATE = "evaluate/pit/seed-0"
CHAIN = [f"train/pit/seed-0/{part}" for part in ("improver", "reward", "easy", "hard")]
IMPROVER, REWARD, EASY, HARD = CHAIN

OTHER = [
    # the option, another value than pit-demo's, the steps that change by their settings or are gone
    ("supervised=false", "curriculum=[]", {*CHAIN, EVALUATE}),
    ("curriculum=[hard]", None, {EASY, HARD}),
    ("curriculum=[hard, easy]", None, {EASY, HARD, EVALUATE}),
    ("reward=additive", None, {"gap_examples/pit/seed-0", EASY, HARD}),
    ("template='{prompt}={reference}='", None, {"improver_examples/pit/seed-0", "gap_examples/pit/seed-0", EASY, HARD}),
    ("max_length=31", None, {"improver_examples/pit/seed-0", "gap_examples/pit/seed-0"}),
    ("pairs_per_prompt=3", None, {"improver_examples/pit/seed-0", "gap_examples/pit/seed-0", EASY, HARD}),
    ("improver.learning_rate=1e-5", None, {IMPROVER}),
    ("reward_model.learning_rate=1e-5", None, {REWARD}),
    ("easy.beta=0.7", None, {EASY}),
    ("hard.beta=0.7", None, {HARD}),
    ("reference_temperature=0.1", None, {EASY, HARD}),
    ("rounds=4", None, {EVALUATE}),
    ("threshold=0.25", None, {EVALUATE}),
    ("shuffle_references=true", None, {EVALUATE}),
]


def test_every_option_is_here():
    assert {option.split("=")[0].split(".")[0] for option, _, _ in OTHER} == set(pit.Settings.model_fields) - {"method"}


@pytest.mark.parametrize(("option", "companion", "steps"), OTHER)
def test_another_value_reaches_its_step(option, companion, steps):
    default = steps_with()
    other = steps_with(option, *([companion] if companion else []))
    changed = {name for name, step in default.items() if other.get(name) != step}
    assert steps <= changed
    assert {name for name in changed if name in CHAIN} == steps & set(CHAIN)


def steps_with(*options):
    """Name -> (settings, inputs) of pit-demo's plan, with these options of its arm `pit`."""
    changes = [f"train.arms.pit.{option}" for option in options]
    return {s.name: (s.settings, s.inputs) for s in plan(load_recipe("pit-demo", changes))}
