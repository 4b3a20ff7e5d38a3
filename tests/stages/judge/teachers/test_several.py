"""Several judges: how their totals become one, and what is asked again when something of them changes."""

import json

import pytest
from pydantic import ValidationError

from hasse.data.errors import WorkError
from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Config
from hasse.pipeline import run as running
from hasse.pipeline.stage import Stage, Step
from hasse.pipeline.store import Store
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import stage as judge
from hasse.stages.judge import traits as teacher_traits
from hasse.stages.judge.teachers import several
from hasse.stages.report.audit_table import audit_table

TASK = TaskSettings(labels=("yes", "no"))
PROMPT = Prompt(prompt_id="p", text="Is it so?", label="yes", source="s", cluster_id="p", split="train")


def candidates(*names, prompt_id="p"):
    return [Candidate(prompt_id=prompt_id, candidate_id=n, text=f"label: {n}", source="student") for n in names]


def said(status="ok", **totals):
    return [
        Judgement(prompt_id="p", candidate_id=n, teacher="recorded", total=t, status=status, error=None)
        for n, t in totals.items()
    ]


def settings_of(*names, weights=(1, 1, 1), **changes):
    judges = {n: {"teacher": "recorded", "path": n, "weight": w} for n, w in zip(names, weights, strict=False)}
    return several.Settings.model_validate({"judges": judges, **changes})


def combined(judgements, **changes):
    made = settings_of(*judgements, **changes)
    return several.combine(PROMPT, candidates("yes", "no", "so"), judgements, made, TASK)


TWO = {"a": said(yes=9.0, no=1.0, so=5.0), "b": said(yes=0.1, no=0.1, so=0.9)}


def test_ranks_z_scores_and_totals_worked_on_paper():
    assert [j.total for j in combined(TWO)] == [(1 + 0.25) / 2, (0 + 0.25) / 2, (0.5 + 1) / 2]
    weighted = combined(TWO, weights=(3, 1))
    assert [j.total for j in weighted] == [(3 + 0.25) / 4, 0.25 / 4, (1.5 + 1) / 4]
    z, half = (8 / 3 * 4) ** 0.5, 0.5**0.5  # of 9, 1, 5 the deviation; of b, each of the lower two
    expected = [(4 / z - half) / 2, (-4 / z - half) / 2, 2 * half / 2]
    assert [j.total for j in combined(TWO, combine="z_scores")] == pytest.approx(expected, abs=1e-6)
    assert [j.total for j in combined(TWO, combine="totals")] == pytest.approx([4.55, 0.55, 2.95])


def test_what_each_judge_gave_is_kept_in_its_own_units():
    first, second, third = combined(TWO)
    assert [(s.judge, s.teacher, s.total, s.status) for s in first.judges] == [
        ("a", "recorded", 9.0, "ok"),
        ("b", "recorded", 0.1, "ok"),
    ]
    assert (first.teacher, first.label, first.correct, second.correct, third.label) == (
        "several", "yes", True, False, None,
    )  # fmt: skip


def test_a_judge_that_ties_all_moves_nothing():
    flat = said(yes=3.0, no=3.0, so=3.0)
    for combine in ("ranks", "z_scores"):
        first, second, third = (j.total for j in combined({"a": TWO["a"], "b": flat}, combine=combine))
        assert first > third > second
        assert first - third == pytest.approx(third - second)


def test_where_a_judge_failed_there_is_no_total_unless_enough_are_left():
    refused = {"a": TWO["a"], "b": said("refused", yes=None, no=None, so=None)}
    found = combined(refused)
    assert {(j.total, j.status, j.error) for j in found} == {(None, "refused", "judge b: refused")}
    assert [j.total for j in combined(refused, min_judges=1)] == [1, 0, 0.5]
    assert {j.status for j in combined(refused, min_judges=1)} == {"ok"}


def test_an_abstention_is_no_failure_and_ranks_are_among_those_scored():
    odd = {"a": TWO["a"], "b": said(yes=0.1, no=0.2, so=None)}
    found = combined(odd)
    assert [(j.total, j.status) for j in found] == [(0.5, "ok"), (0.5, "ok"), (None, "ok")]
    assert combined(odd, min_judges=1)[2].total == 0.5
    alone = {"a": said(yes=None, no=None, so=None), "b": said(yes=None, no=None, so=None)}
    assert {j.total for j in combined(alone, min_judges=1)} == {None}


def test_settings_that_cannot_be_honoured_are_refused():
    with pytest.raises(ValidationError, match="min_judges is 3, but there are 2 judges"):
        settings_of("a", "b", min_judges=3)
    with pytest.raises(ValidationError, match="at least 2 items"):
        settings_of("a")
    with pytest.raises(ValidationError, match="several"):
        several.Settings.model_validate({"judges": {n: {"teacher": "several"} for n in "ab"}})
    with pytest.raises(ValidationError, match="pattern"):
        settings_of("a b", "c")


def _write_given(job):
    prompts = [Prompt(prompt_id=p, text=p, label="yes", source="s", cluster_id=p, split="train") for p in "pqrs"]
    job.write(prompts, Prompt)
    answers = [c for p in "pqrs" for c in candidates("no", "yes", prompt_id=p)]
    job.write([c for c in answers if (c.prompt_id, c.candidate_id) != ("s", "no")], Candidate)


GIVEN = Step(
    name="given",
    stage=Stage(
        name="given",
        run=_write_given,
    ),
    settings=Config(),
)


@pytest.fixture
def run(tmp_path):
    """teacher's settings as in a recipe, bounds -> the judge's artifact."""
    store = Store(tmp_path / "store")

    def run(teacher, **audit):
        settings = judge.JudgeSettings.model_validate({"teacher": teacher, "task": TASK, "audit": audit})
        step = Step(
            name="judge",
            stage=judge.STAGE,
            settings=settings,
            inputs={"prompts": ("given",), "candidates": ("given",)},
            external=judge.external(settings),
            plugs=teacher_traits.plugs(settings.teacher),
        )
        given = running.perform(store, GIVEN, {}, progress=lambda done, total: None).artifact
        return running.perform(store, step, {"given": given}, progress=lambda done, total: None).artifact

    return run


@pytest.fixture
def recorded_path(tmp_path):
    path = tmp_path / "totals.jsonl"
    rows = [
        {"prompt_id": p, "candidate_id": c, "total": total}
        for p, totals in {"p": (1, 2), "q": (2, 1), "r": (1, 1), "s": (0, 5)}.items()
        for c, total in zip(("no", "yes"), totals, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def by_label(chat, shown):
    """The chat model finds `yes` the better answer, by a score that also depends on how often it was asked."""

    def answer(question):
        marks = {n: {"scores": {"quality": 8 if "yes" in t else 3 + late()}} for n, t in shown(question).items()}
        return json.dumps({"candidates": marks})

    def late():
        return 2 if len(chat.questions) > 7 else 0

    return answer


def test_judges_keep_their_rows_when_a_weight_changes_or_one_comes_beside_them(chat, shown, run, recorded_path):
    chat.answer = by_label(chat, shown)
    model = {"teacher": "openai", "chat": chat.settings, "aspects": [{"name": "quality", "description": "x"}]}
    first = run(model)
    asked = len(chat.questions)
    assert asked == 7  # three prompts in two orders, one candidate in one
    file = {"teacher": "recorded", "path": recorded_path}
    both = run({"teacher": "several", "judges": {"model": model, "file": file}})
    again = run({"teacher": "several", "judges": {"model": model, "file": {**file, "weight": 3}}})
    assert len(chat.questions) == asked
    totals = {(j.prompt_id, j.candidate_id): j.total for j in both.records(Judgement)}
    assert totals == {
        ("p", "no"): 0, ("p", "yes"): 1, ("q", "no"): 0.5, ("q", "yes"): 0.5, ("r", "no"): 0.25, ("r", "yes"): 0.75,
        ("s", "yes"): 0.5,
    }  # fmt: skip
    assert {(j.prompt_id, j.candidate_id): j.total for j in again.records(Judgement)}["q", "no"] == 0.75
    metrics = both.manifest.metrics
    assert (metrics["units"], metrics["units_found"], metrics["units_computed"]) == (8, 4, 4)
    assert metrics["judges"]["model"]["audit"] == first.manifest.metrics["audit"]
    assert metrics["agreement"] == [
        {"judges": ["model", "file"], "tau": 0.0, "alike": pytest.approx(1 / 3), "prompts": 4}
    ]
    assert (metrics["audit"]["judges_tau"], metrics["audit"]["gold_auc"]) == (0, pytest.approx((1 + 0.5 + 1) / 3))
    kept = [j.total for j in read(both, "judgement_by_model")]
    assert kept == [j.total for j in first.records(Judgement)]


def read(artifact, name):
    from hasse.data.parquet import read_records

    return read_records(artifact.path / f"{name}.parquet", Judgement)


def test_prompts_are_asked_again_for_what_the_same_question_gives(chat, shown, run, recorded_path, tmp_path):
    chat.answer = by_label(chat, shown)
    chat.settings["cache"] = str(tmp_path / "replies.sqlite")
    model = {"teacher": "openai", "chat": {**chat.settings, "concurrency": 1}, "structured": "text"}
    model["aspects"] = [{"name": "quality", "description": "x"}]
    found = run(model, repeats=4, max_repeat_shift=1.2)
    asked = len(chat.questions)
    assert asked == 14
    numbers = found.manifest.metrics["audit"]
    assert numbers["repeat_alike"] == numbers["repeat_tau"] == 1
    assert numbers["repeat_shift"] == pytest.approx(3 * 2 / 7)  # asked later, `no` has 2 more
    assert len(list(read(found, "repeat"))) == 7
    run(model, repeats=0.99)
    run(
        {"teacher": "several", "judges": {"model": model, "file": {"teacher": "recorded", "path": recorded_path}}},
        repeats=4,
    )
    assert len(chat.questions) == asked  # the rows of what was asked again are kept, too
    with pytest.raises(WorkError, match=r"judge: repeat_shift of the judgements is 0\.857"):
        run(model, repeats=4, max_repeat_shift=0.5)


def test_the_table_of_the_report_has_a_column_for_each_judge(chat, shown, run, recorded_path):
    chat.answer = by_label(chat, shown)
    model = {"teacher": "openai", "chat": chat.settings, "aspects": [{"name": "quality", "description": "x"}]}
    judges = {"model": model, "file": {"teacher": "recorded", "path": recorded_path}, "gold": {"teacher": "rule"}}
    table = audit_table(run({"teacher": "several", "judges": judges}), {"min_judges_alike": 0.1})
    rows = {row.measure: row for row in table.rows}
    assert table.columns == ["Together", "model", "file", "gold"]
    assert rows["calls saved"].values == ["", "-1", "", ""]
    assert (rows["judges alike"].bound, rows["consistent"].values) == ("at least 0.1", ["", "1", "", ""])
    assert [pair.judges for pair in table.pairs] == ["model and file", "model and gold", "file and gold"]
