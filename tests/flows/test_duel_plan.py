"""The duel of a recipe: its steps, and settings that contradict each other."""

import pytest

from hasse.data.errors import RecipeError
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe


def steps(*changes):
    return {step.name: step for step in plan(load_recipe("pit-demo", ["train.seeds=[3, 5]", *changes]))}


def test_every_model_meets_in_the_duel_and_the_best_of_two_is_chosen_by_each_seeds_reward_model():
    found = steps()
    for seed in (3, 5):
        best = found[f"evaluate/best-of-2/seed-{seed}"]
        assert best.inputs["reward"] == (f"train/pit/seed-{seed}/reward",)
        assert best.inputs["checkpoint"] == ("student",)
        assert best.settings.choose.num == 2
        assert best.settings.choose.template == found[f"evaluate/pit/seed-{seed}"].settings.improve.template
    evaluations = {name for name in found if name.startswith("evaluate/")}
    assert set(found["duel"].inputs["evaluate"]) == evaluations
    assert found["report"].inputs["duel"] == ("duel",)


def test_the_best_of_two_changes_no_other_evaluation():
    with_it, without = steps(), steps("evaluate.best_of=null", "duel=null", "report.baselines=[student]")
    assert "duel" not in without
    assert with_it["evaluate/student"].settings == without["evaluate/student"].settings


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["duel.against=[nobody]"], "duel.against: .*nobody"),
        (["evaluate.num_samples=0"], "duel.decoding: sampled compares sampled answers"),
        (["duel.judge={teacher: transformers}"], "duel.judge asks the teacher's model"),
        (["duel.judge={teacher: openai, chat: {model: m}, orders: 1}"], "duel.judge.orders: 1"),
        (["train.arms={sft: {method: sft}}", "duel=null", "report.baselines=[student]"], "evaluate.best_of: "),
    ],
)
def test_a_duel_that_cannot_be_is_refused(changes, problem):
    with pytest.raises(RecipeError, match=problem):
        load_recipe("pit-demo", changes)
