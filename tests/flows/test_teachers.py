"""Judges other than the rule, from the recipe to the page."""

from data.records import Judgement
from pipeline.store import Store


def test_recorded_judgements_give_the_orders_of_the_run_they_come_from_and_are_audited(hasse, finished):
    judged = Store(finished.store).resolve(finished.steps["judge"]["ref"])
    teacher = f"{{teacher: recorded, path: {judged.table_path(Judgement)}}}"
    steps = hasse.run("--set", f"judge={teacher}", "--set", "audit.min_gold_auc=0.9")
    store = Store(hasse.store)
    audit = store.resolve(steps["judge"]["ref"]).manifest.metrics["audit"]
    assert audit["gold_auc"] == 1
    page = (store.resolve(steps["report"]["ref"]).path / "report.html").read_text()
    assert "<h2>The judge</h2>" in page
    assert "<td>gold auc</td>" in page


def test_a_dry_run_plans_a_chat_model_as_judge_and_wants_its_template(hasse):
    judge = ["--set", "judge={teacher: openai, chat: {model: some-model}}"]
    assert "judge" in hasse("run", hasse.recipe, "--dry-run", *judge)
    absent = hasse("run", hasse.recipe, "--dry-run", *judge, "--set", "judge.template=absent.j2", code=2)
    assert "absent.j2: there is no such file" in absent


def test_bounds_for_a_rule_are_refused(hasse):
    assert "a rule is not audited" in hasse("run", hasse.recipe, "--dry-run", "--set", "audit.max_tie=0.5", code=2)
