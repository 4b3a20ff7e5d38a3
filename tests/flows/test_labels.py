"""Arm, seed and round stand as labels on a step, and who wrote an answer in its row: no name is taken apart."""

import json
from types import SimpleNamespace

import pytest

from hasse.data.errors import RecipeError, WorkError
from hasse.data.parquet import write_records
from hasse.data.records import Candidate, OrderedPair, PartialOrder
from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe
from hasse.flows.server.artifact_pages import order_picture
from hasse.pipeline.stage import Step
from hasse.pipeline.store import Artifact, Imagined
from hasse.stages.order import stage as order
from hasse.stages.report import ordered_prompts

ARMS = {"same-a": {"method": "sft"}, "same-b": {"method": "sft"}}


@pytest.fixture
def two_arms(hasse):
    """Two arms of the same settings, whose steps share their artifacts, and a sampler named like a human."""
    groups = [{"sampler": "dataset", "name": "expert"}, hasse.tiny["generate"]["groups"][1] | {"name": "human-like"}]
    recipe = json.loads(json.dumps(hasse.tiny))
    recipe["generate"]["groups"] = groups
    recipe["train"] |= {"arms": ARMS, "seeds": [0, 1], "steps": 1}
    recipe["report"]["baselines"] = ["student"]
    hasse.write(recipe)
    return hasse


def test_every_step_of_an_arm_has_its_labels(two_arms):
    steps = {step.name: step for step in plan(load_recipe(str(two_arms.recipe), []))}
    for arm in ARMS:
        for seed in (0, 1):
            for kind in ("train", "evaluate"):
                assert steps[f"{kind}/{arm}/seed-{seed}"].labels == {"arm": arm, "seed": seed}
    assert steps["evaluate/student"].labels == {"arm": "student"}
    assert steps["judge"].labels == {}


def test_arms_that_share_an_artifact_are_told_apart(two_arms):
    steps = two_arms.run()
    assert steps["train/same-a/seed-1"]["ref"] == steps["train/same-b/seed-1"]["ref"]
    assert steps["train/same-b/seed-1"]["labels"] == {"arm": "same-b", "seed": 1}
    manifest = json.loads((two_arms.store / steps["report"]["ref"] / "manifest.json").read_text())
    rows = [row for row in manifest["metrics"]["results"] if row["decoding"] == "greedy"]
    assert [(row["arm"], row["seeds"]) for row in rows] == [("student", 1), ("same-a", 2), ("same-b", 2)]
    trained = json.loads((two_arms.store / steps["train/same-b/seed-1"]["ref"] / "manifest.json").read_text())
    assert trained["labels"] == {"arm": "same-a", "seed": 1}, "those of the step that made it"


def test_a_round_is_a_label(two_arms):
    rounds = {"more": {"start": "same-a", "arms": {"third": {"method": "rescue"}}}}
    recipe = load_recipe(str(two_arms.recipe), [f"rounds={json.dumps(rounds)}"])
    steps = {step.name: step for step in plan(recipe)}
    assert steps["judge/more/seed-1"].labels == {"round": "more", "seed": 1}
    assert steps["train/third/seed-1"].labels == {"round": "more", "arm": "third", "seed": 1}


def test_a_round_that_starts_from_the_student_is_made_once_for_all_seeds(two_arms):
    rounds = {"other": {"start": "student", "order": {"strategy": "hp"}, "arms": {"third": {"method": "rescue"}}}}
    recipe = load_recipe(str(two_arms.recipe), [f"rounds={json.dumps(rounds)}"])
    steps = {step.name: step for step in plan(recipe)}
    assert steps["order/other"].labels == {"round": "other"}
    assert steps["generate/other"].settings == steps["generate"].settings
    assert steps["generate/other"].inputs == steps["generate"].inputs, "so that it is the same artifact"
    for seed in (0, 1):
        trained = steps[f"train/third/seed-{seed}"]
        assert trained.labels == {"round": "other", "arm": "third", "seed": seed}
        assert trained.inputs["student"] == ("student",)


def test_a_step_without_the_label_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"step 'odd' \(evaluate/f\) has no label 'arm'"):
        Artifact(tmp_path / "evaluate" / "f", "odd").label("arm")


@pytest.mark.parametrize("name", ["human", "document", "flipped"])
def test_no_model_is_called_what_a_source_is_called(hasse, name):
    with pytest.raises(RecipeError, match=f"'{name}' is taken"):
        load_recipe(str(hasse.recipe), [f"models={{{name}: {{model: gpt2}}}}"])


# Who wrote an answer


def artifact(folder, rows, record, name):
    folder.mkdir(exist_ok=True)
    write_records(folder / f"{name}.parquet", rows, record)
    return Imagined(folder)


@pytest.fixture
def ordered(tmp_path):
    """Prompt a: the expert's group is called `reference`, the student's `human-like`. Prompt b has no expert."""

    def candidate(prompt_id, name, source):
        return Candidate(prompt_id=prompt_id, candidate_id=name, text=name, source=source)

    rows = [
        candidate("a", "reference-0", "human"),
        candidate("a", "human-like-0", "student"),
        candidate("b", "human-like-0", "student"),
        candidate("b", "human-like-1", "student"),
    ]
    orders = [
        PartialOrder(prompt_id=p, strategy="lp", candidate_ids=(above, below), levels=(1.0, 0.0),
                     pairs=(OrderedPair(above=above, below=below),))
        for p, above, below in (("a", "reference-0", "human-like-0"), ("b", "human-like-0", "human-like-1"))
    ]  # fmt: skip
    return artifact(tmp_path / "candidates", rows, Candidate, "candidate"), orders, tmp_path


@pytest.mark.parametrize(("prompt", "num_experts"), [("a", 1), ("b", 0)])
def test_the_page_of_an_order_draws_the_expert_by_its_source(ordered, prompt, num_experts, monkeypatch):
    candidates, orders, folder = ordered
    chosen = artifact(folder / "orders", [o for o in orders if o.prompt_id == prompt], PartialOrder, "partial_order")
    step = Step(
        name="order",
        stage=order.STAGE,
        settings=order.OrderSettings(strategy={"strategy": "lp"}),
        inputs={"candidates": ("generate",)},
    )
    drawn = []
    monkeypatch.setattr(
        "hasse.flows.server.artifact_pages.hasse_diagram", lambda nodes, pairs: drawn.extend(nodes) or "<svg ></svg>"
    )
    assert order_picture(chosen, step, {"generate": candidates})
    assert [node.name for node in drawn if node.human] == ["reference-0"][:num_experts]


def test_the_report_shows_prompts_with_an_expert_first(ordered, monkeypatch):
    candidates, orders, folder = ordered
    monkeypatch.setattr(ordered_prompts, "unit_hash", lambda *parts: {"a": 1.0, "b": 0.0}[parts[-1]])
    monkeypatch.setattr(ordered_prompts, "_shown", lambda prompt, *others: prompt.prompt_id)
    inputs = {
        "candidates": candidates,
        "orders": artifact(folder / "orders", orders, PartialOrder, "partial_order"),
        "prompts": SimpleNamespace(records=lambda record: iter([SimpleNamespace(prompt_id=p) for p in "ab"])),
        "judgements": SimpleNamespace(records=lambda record: iter([])),
    }
    assert ordered_prompts.shown_prompts(SimpleNamespace(input=inputs.get), 1) == ["a"]  # type: ignore[arg-type]
