"""Arms compared by a judge's preference: by a chat model on loopback in both orders, and by a rule."""

import json
import re
from dataclasses import replace

import pytest

from hasse.data.errors import WorkError
from hasse.data.records import Duel, Evaluation, Prompt
from hasse.data.settings import Config
from hasse.pipeline import run as running
from hasse.pipeline.stage import Stage, Step
from hasse.pipeline.store import Store
from hasse.stages.evaluate import arm_duels
from hasse.stages.evaluate.arm_duels import Contestant, DuelSection, DuelSettings, pairs_of
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import traits
from tests.stages.chat_server import Act, ChatServer, completion

ANSWERS = {
    "student": ["4 of plain", "4 of plain", "4 of order", "7 same"],
    "pit": ["6 of plain", "2 of plain", "6 of order", "7 same"],
    "best-of-2": ["5 of plain", "5 of plain", "5 of order", "5 of plain"],
}


class Given(Config):
    answers: list[str]


def _prompts(job):
    common = {"source": "s", "split": "test", "answers": ("6 of plain",)}
    names = [f"p{i}" for i in range(4)]
    job.write([Prompt(prompt_id=p, text=f"Is {p} so?", cluster_id=p, **common) for p in names], Prompt)


def _evaluated(job):
    rows = [
        Evaluation(
            prompt_id=f"p{i}", cluster_id=f"p{i}", split="test", decoding=decoding, text=text if k == 0 else "other",
            sample=k, num_tokens=1, correct_strict=None, correct_loose=None,
        )
        for i, text in enumerate(job.settings.answers)
        for decoding, k in (("greedy", 0), ("sampled", 0), ("sampled", 1))
    ]  # fmt: skip
    job.write(rows, Evaluation)


def duelled(store, judge, **section):
    """The finished duel of the arms above."""
    given = {"prompts": Step(name="prompts", stage=Stage(name="given", run=_prompts), settings=Given(answers=[]))}
    for arm, answers in ANSWERS.items():
        stage = Stage(name="evaluated", run=_evaluated)
        labels = {"arm": arm, "seed": 0}
        given[arm] = Step(name=arm, stage=stage, settings=Given(answers=answers), labels=labels)
    made = {name: running.perform(store, step, {}, progress=_silent).artifact for name, step in given.items()}
    settings = DuelSettings(duel=DuelSection(judge=judge, **section), task=TaskSettings())
    teacher = settings.duel.judge
    step = Step(
        name="duel",
        stage=replace(arm_duels.STAGE, estimate=arm_duels.estimate),
        settings=settings,
        inputs={"prompts": ("prompts",), "evaluate": tuple(ANSWERS)},
        external=traits.external(teacher),
        plugs=traits.plugs(teacher),
    )
    return running.perform(store, step, made, progress=_silent).artifact


def _silent(done, total):
    pass


def prefers(asked):
    """By the number an answer begins with; by the place for answers `of order`, and after thinking of the opposite."""
    shown = dict(re.findall(r"\[Answer (\w+)\]\n(.*?)\n\[End", asked.text))
    marks = {tag: 9 - "AB".index(tag) if "order" in text else int(text[0]) for tag, text in shown.items()}
    said = json.dumps({"candidates": [{"tag": tag, "scores": {"quality": mark}} for tag, mark in marks.items()]})
    body = completion(said)
    body["choices"][0]["message"]["reasoning_content"] = said.replace(str(marks["A"]), "1")
    return Act(body=body)


def chat_judge(server, **chat):
    chat = {
        "model": "m",
        "base_url": server.url,
        "api_key_variable": "CHAT_KEY",
        "prices": {"m": {"free": True}},
        **chat,
    }
    aspects = [{"name": "quality", "description": "How good it is."}]
    return {"teacher": "openai", "aspects": aspects, "chat": chat}


def test_a_chat_model_compares_in_both_orders_and_a_second_run_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "k")
    with ChatServer(prefers) as server:
        made = duelled(Store(tmp_path / "store"), chat_judge(server))
        num_asked = len(server.asked)
        assert duelled(Store(tmp_path / "store"), chat_judge(server), limit=3).manifest.metrics["units_computed"] == 0
        assert len(server.asked) == num_asked
    rows = list(made.records(Duel))
    verdicts = {(d.arm, d.prompt_id): (d.first, d.second) for d in rows}
    assert [verdicts["pit", f"p{i}"] for i in range(4)] == [
        ("win", "win"), ("lose", "lose"), ("win", "lose"), ("tie", "tie"),
    ]  # fmt: skip
    assert rows[0].reasoning
    assert rows[3].reasoning is None  # equal answers were not asked about
    assert num_asked == 2 * 7
    pit, best = made.manifest.metrics["duels"]
    assert (pit["arm"], pit["other"], pit["win"], pit["lose"], pit["tie"]) == ("pit", "student", 1, 1, 2)
    assert (best["arm"], best["win"], best["lose"], best["tie"]) == ("best-of-2", 2, 1, 1)
    assert pit["rate"]["low"] < pit["rate"]["mean"] == 0 < pit["rate"]["high"]
    ratings = {arm: rating["mean"] for arm, rating in made.manifest.metrics["elo"].items()}
    assert ratings["best-of-2"] > ratings["pit"] == pytest.approx(ratings["student"], abs=10)


def test_a_rule_that_scores_answers_alone_decides_both_orders(tmp_path):
    made = duelled(Store(tmp_path / "store"), {"teacher": "rule"}, against=["best-of-2"], limit=1, decoding="greedy")
    student, pit = made.records(Duel)
    assert (student.arm, student.first, student.second) == ("student", "tie", "tie")
    assert (pit.arm, pit.first, pit.second) == ("pit", "win", "win")


def test_a_judge_without_any_verdict_ends_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "k")
    with (
        ChatServer(lambda asked: Act(body=completion("Hm."))) as server,
        pytest.raises(WorkError, match="none of the 1 duels of pit and student has a verdict"),
    ):
        duelled(Store(tmp_path / "store"), chat_judge(server), limit=1)


def test_every_arm_meets_every_rival_once_and_seeds_are_paired():
    models = [Contestant("student", 0), *(Contestant(arm, seed) for arm in ("resample", "pit") for seed in (1, 2))]
    named = [f"{a.arm}{a.seed} {b.arm}{b.seed}" for a, b in pairs_of(models, ["student", "resample"])]
    assert named == [
        "resample1 student0", "resample2 student0", "pit1 student0", "pit2 student0",
        "pit1 resample1", "pit2 resample2",
    ]  # fmt: skip
