"""Judges other than the rule, from the recipe to the page."""

import json

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from hasse.data.records import Judgement
from hasse.pipeline.store import Store
from tests.scripted_model import save


def test_recorded_judgements_give_the_orders_of_the_run_they_come_from_and_are_audited(hasse, finished):
    judged = Store(finished.store).resolve(finished.steps["judge"]["ref"])
    teacher = f"{{teacher: recorded, path: {judged.table_path(Judgement)}}}"
    steps = hasse.run("--set", f"judge={teacher}", "--set", "audit.min_gold_auc=0.9")
    store = Store(hasse.store)
    audit = store.resolve(steps["judge"]["ref"]).manifest.metrics["audit"]
    assert audit["gold_auc"] == 1
    page = (store.resolve(steps["report"]["ref"]).path / "report.html").read_text()
    assert "<h2>The judge</h2>" in page
    assert '<td>gold auc</td><td class="n">1</td><td>at least 0.9</td>' in page


def test_a_dry_run_plans_a_chat_model_as_judge_and_wants_its_template(hasse):
    judge = ["--set", "judge={teacher: openai, chat: {model: some-model}}"]
    key = {"OPENAI_API_KEY": "any"}
    assert "judge" in hasse("run", hasse.recipe, "--dry-run", *judge, env=key)
    absent = hasse("run", hasse.recipe, "--dry-run", *judge, "--set", "judge.template=absent.j2", code=2, env=key)
    assert "absent.j2: there is no such file" in absent


def test_bounds_for_a_rule_are_refused(hasse):
    assert "a rule is not audited" in hasse("run", hasse.recipe, "--dry-run", "--set", "audit.max_tie=0.5", code=2)
    judge = ["--set", "judge={teacher: recorded, path: x.jsonl}", "--dry-run"]
    for bound, said in {"repeats=3": "asks a chat model again", "min_judges_tau=0": "compares judges"}.items():
        assert said in hasse("run", hasse.recipe, *judge, "--set", f"audit.{bound}", code=2)


def test_several_judges_with_models_of_their_own_run_in_a_child_process(hasse):
    given = {tag: {"rationale": "So.", "scores": {"quality": n}} for tag, n in zip("ABC", (7, 3, 5), strict=True)}
    folder = save(hasse.folder / "judge", [json.dumps({"candidates": given}, separators=(",", ":"))])
    torch.manual_seed(0)
    shape = {"vocab_size": 6, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = LlamaConfig(**shape, num_attention_heads=1, max_position_embeddings=1024, num_labels=1)
    save(hasse.folder / "reward", ["x"])
    LlamaForSequenceClassification(config).save_pretrained(hasse.folder / "reward")
    aspects = [{"name": "quality", "description": "How good it is."}]
    judges = {
        "chat": {"teacher": "transformers", "max_tokens": 8, "aspects": aspects, "weight": 2},
        "reward": {"teacher": "reward_model", "model": str(hasse.folder / "reward")},
        "gold": {"teacher": "rule"},
    }
    hasse.write({**hasse.tiny, "teacher": {"model": str(folder)}, "judge": {"teacher": "several", "judges": judges}})
    steps = hasse.run(
        "--set", "audit={repeats: 3, min_repeat_alike: 1, max_unparsable: 0}", "--set", "order.strategy=scores"
    )
    store = Store(hasse.store)
    judged = store.resolve(steps["judge"]["ref"])
    rows = list(judged.records(Judgement))
    assert {(j.teacher, j.status) for j in rows} == {("several", "ok")}
    assert {(s.judge, s.teacher, s.status) for j in rows for s in j.judges} == {
        ("chat", "transformers", "ok"),
        ("reward", "reward_model", "ok"),
        ("gold", "rule", "ok"),
    }
    audit = judged.manifest.metrics["judges"]["chat"]["audit"]
    assert (audit["repeat_alike"], audit["unparsable"]) == (1, 0)
    page = (store.resolve(steps["report"]["ref"]).path / "report.html").read_text()
    assert "chat and reward" in page
    assert '<th class="n">Together</th><th class="n">chat</th>' in page
    assert not [path for path in hasse.json("prune", "--keep-runs", "1") if "judge/rows" in path["path"]]
