"""What a run says of answers, from the command line: by what reading, and without gold answers no accuracy."""

import json

import pytest
import yaml

from hasse.data.records import Evaluation, Judgement
from hasse.flows.recipe.recipe import load_recipe
from hasse.flows.run import sweep
from hasse.pipeline.store import Store


def recipe(hasse, rows, fields, **changes):
    """The tiny recipe over a table of these rows."""
    path = hasse.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = yaml.safe_load(hasse.recipe.read_text())
    values |= {"source": {"kind": "jsonl", "path": str(path), "fields": {"split": "part", **fields}}, "task": {}}
    hasse.write({**values, **changes})


def rows(**given):
    parts = ["pretrain"] * 16 + ["train"] * 12 + ["test"] * 8
    return [{"q": f"question {i} on {i * 7}", "part": part, **given} for i, part in enumerate(parts)]


def test_without_gold_answers_no_accuracy_is_told(hasse):
    told = {"text": "q", "reference": "why"}
    order = {"strategy": "hp"}
    recipe(hasse, rows(why="because it rained"), told, order=order, evaluate={"max_tokens": 8, "pairs": True})
    found = hasse.json("run", str(hasse.recipe))
    steps = {step["step"]: step for step in found["steps"]}
    assert {"accuracy %", "score %"}.isdisjoint(found["results"][0])
    assert all("nearness %" in row for row in found["results"])
    assert any(row.get("drift") for row in found["results"])
    store = Store(hasse.store)
    for row in store.resolve(steps["evaluate/student"]["ref"]).records(Evaluation):
        assert (row.correct_strict, row.correct_loose, row.correct_first, row.gold) == (None,) * 4
        assert row.score is not None
    assert all(j.correct is None for j in store.resolve(steps["judge"]["ref"]).records(Judgement))
    report = store.resolve(steps["report"]["ref"])
    assert "No prompt has a gold answer" in report.manifest.metrics["read"]
    page = (report.path / "report.html").read_text()
    assert "No prompt has a gold answer" in page
    assert "Nearness to the experts" in page
    assert "Strict %" not in page


def test_the_report_names_the_reading_that_the_judge_used(hasse):
    told = {"text": "q", "reference": "why", "answers": "gold"}
    short = {"order": {"strategy": "qa_lp"}, "task": {"reading": "first"}}
    recipe(hasse, rows(why="It is -5, not 5.", gold="-5"), told, **short)
    found = hasse.json("run", str(hasse.recipe))
    steps = {step["step"]: step for step in found["steps"]}
    store = Store(hasse.store)
    judged = list(store.resolve(steps["judge"]["ref"]).records(Judgement))
    assert {j.correct for j in judged if j.candidate_id.startswith("human")} == {True}
    assert all("accuracy %" in row for row in found["results"])
    report = store.resolve(steps["report"]["ref"])
    assert "by the reading 'first'" in report.manifest.metrics["read"]
    assert "The first statement of the answer contains a gold answer" in (report.path / "report.html").read_text()


def test_a_sweep_draws_nearness_and_leaves_out_what_was_not_measured():
    told = {"arm": "sft", "decoding": "greedy", "lr": "1"}
    rows = [
        {**told, "nearness %": 25.0, "95 % interval": "20.0 to 30.0"},
        {**told, "accuracy %": 75.0, "95 % interval": "70.0 to 80.0"},
    ]
    page = sweep._page("x", {"lr": ["1"]}, [*rows, {**told, "decoding": "sampled"}])
    assert page.count("<svg") == 1
    assert "sft · 1 25.0% (20.0% to 30.0%); sft · 1 75.0% (70.0% to 80.0%)" in page


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("order.strategy=qa_lp", "order.strategy: qa_lp puts right answers above wrong ones"),
        ("order.strategy=lp", "order.strategy: lp ranks right answers above wrong ones for the arm 'rescue'"),
        ("order.strategy=scores", "order.strategy: scores ranks right answers above wrong ones for the arm 'rescue'"),
        ("judge.total=score", "judge.total: score compares answers with gold ones"),
        ("feedback={annotator: {annotator: rule}}", "feedback says whether an answer is right"),
        ("nightly={metric: greedy_strict, arm: sft}", "nightly.metric: greedy_strict counts right answers"),
        ("nightly={metric: greedy_first, arm: sft}", "nightly.metric: greedy_first counts right answers"),
    ],
)
def test_what_counts_right_answers_is_refused_where_none_can_be_right(hasse, setting, problem):
    recipe(hasse, rows(why="because"), {"text": "q", "reference": "why"}, order={"strategy": "hp"})
    said = hasse("run", str(hasse.recipe), "--dry-run", "--set", setting, code=2)
    assert problem in " ".join(said.split())
    assert "map source.fields.answers" in " ".join(said.split())


def test_an_order_of_right_answers_will_do_for_arms_that_read_the_experts_answer_alone(hasse):
    arms = {"sft": {"method": "sft"}, "minor-sft": {"method": "minor_sft"}}
    recipe(hasse, rows(why="because"), {"text": "q", "reference": "why"}, train={"steps": 1, "arms": arms})
    assert set(load_recipe(str(hasse.recipe), []).arms()) == {"sft", "minor-sft"}
