"""The judge stage with a teacher from a file: its audit, its bounds, and what is computed anew."""

import json

import pytest

from hasse.data.errors import WorkError
from hasse.data.records import Candidate, Judgement, Prompt
from hasse.data.settings import Config
from hasse.pipeline import run as running
from hasse.pipeline.stage import Stage, Step
from hasse.pipeline.store import Store
from hasse.stages.grading import TaskSettings
from hasse.stages.judge import stage as judge
from hasse.stages.judge import traits as teacher_traits
from hasse.stages.judge.teachers import recorded, rule
from hasse.stages.report.audit_table import audit_table

TASK = TaskSettings(labels=("yes", "no"))
TOTALS = {("p", "a"): 8, ("p", "b"): 3, ("q", "a"): 4, ("q", "b"): 6}


def _write_given(job):
    job.write(
        [Prompt(prompt_id=p, text=f"{p}?", label="yes", source="s", cluster_id=p, split="train") for p in "pq"], Prompt
    )
    answers = {"a": "It is so.\nlabel: yes", "b": "label: no"}
    job.write(
        [
            Candidate(prompt_id=p, candidate_id=name, text=text, source="student")
            for p in "pq"
            for name, text in answers.items()
        ],
        Candidate,
    )


GIVEN = Step(
    name="given",
    stage=Stage(
        name="given",
        run=_write_given,
    ),
    settings=Config(),
)


@pytest.fixture
def made(tmp_path):
    """(totals, teacher's settings, audit's settings) -> the judge's artifact."""
    store, path = Store(tmp_path / "store"), tmp_path / "totals.jsonl"

    def make(totals=TOTALS, *, teacher=None, **audit):
        rows = [{"prompt_id": p, "candidate_id": c, "total": total} for (p, c), total in totals.items()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        teacher = teacher or recorded.Settings(path=str(path), missing="filtered")
        settings = judge.JudgeSettings(teacher=teacher, task=TASK, audit=audit)
        step = Step(
            name="judge",
            stage=judge.STAGE,
            settings=settings,
            inputs={"prompts": ("given",), "candidates": ("given",)},
            external=judge.external(settings),
            plugs=teacher_traits.plugs(teacher),
        )
        given = running.perform(store, GIVEN, {}, progress=lambda done, total: None).artifact
        return running.perform(store, step, {"given": given}, progress=lambda done, total: None).artifact

    return make


def test_a_teacher_that_can_err_is_audited(made):
    artifact = made()
    found = artifact.manifest.metrics["audit"]
    assert (found["gold_auc"], found["tie"], found["filtered"]) == (0.5, 0, 0)
    assert found["length_correlation"] == pytest.approx((5 - 2) / (2 * (25 + 4)) ** 0.5)
    assert [j.total for j in artifact.records(Judgement)] == [8, 3, 4, 6]
    table = audit_table(artifact, {"min_gold_auc": 0.4, "max_tie": None})
    shown = {row.measure: (row.values, row.bound) for row in table.rows}
    assert table.columns == ["Value"]
    assert (shown["gold auc"], shown["tie"]) == ((["0.5"], "at least 0.4"), (["0"], ""))


def test_a_rule_is_not(made):
    artifact = made(teacher=rule.Settings())
    assert "audit" not in artifact.manifest.metrics
    assert audit_table(artifact, {}) is None


def test_a_bound_stops_the_stage_and_its_rows_are_kept(made):
    with pytest.raises(WorkError, match=r"judge: gold_auc of the judgements is 0\.5, audit\.min_gold_auc is 0\.9"):
        made(min_gold_auc=0.9)
    artifact = made(min_gold_auc=0.4)
    assert artifact.manifest.metrics["units_computed"] == 0


def test_another_file_is_judged_anew_and_the_two_can_be_compared(made):
    first = made()
    second = made({**TOTALS, ("q", "a"): 7}, compare_with=str(first.table_path(Judgement)))
    assert [j.total for j in second.records(Judgement)] == [8, 3, 7, 6]
    assert second.manifest.metrics["audit"]["tau"] == 0  # p alike, q turned over
    third = made({("p", "a"): 8})
    assert third.manifest.counts == {"judgement": {"filtered": 3, "ok": 1}}
    assert third.manifest.metrics["audit"]["filtered"] == 0.75
