"""How many rows may come to nothing, by table, group and judge."""

from types import SimpleNamespace

import pytest

from hasse.data.errors import WorkError
from hasse.data.parquet import write_records
from hasse.data.records import Candidate, Feedback, Judgement
from hasse.pipeline.failures import check
from hasse.stages.report.shortfalls import shortfalls


def judgements(**counts: int) -> list[Judgement]:
    statuses = [status for status, n in counts.items() for _ in range(n)]
    return [
        Judgement(
            prompt_id=f"p{i:04}", candidate_id="a-0", teacher="openai", status=status,  # type: ignore[arg-type]
            error=None if status == "ok" else f"{status} it is",
        )
        for i, status in enumerate(statuses)
    ]  # fmt: skip


def job(tmp_path, rows, name="judgement", **metrics):
    write_records(tmp_path / f"{name}.parquet", rows, type(rows[0]))
    return SimpleNamespace(name="judge", path=tmp_path, metrics=metrics)


@pytest.mark.parametrize(
    ("counts", "share", "passes"),
    [
        ({"ok": 95, "failed": 5}, 0.05, True),
        ({"ok": 94, "failed": 6}, 0.05, False),
        ({"ok": 94, "failed": 2, "refused": 2, "unparsable": 2}, 0.05, False),
        ({"ok": 94, "failed": 3, "truncated": 3}, 0.05, False),
        ({"ok": 90, "filtered": 10}, 0.05, True),
        ({"filtered": 10}, 0.05, False),
        ({"ok": 7, "failed": 1}, 0.05, True),
        ({"ok": 6, "failed": 2}, 0.05, False),
        ({"ok": 99, "failed": 1}, 0.0, False),
        ({"ok": 99}, 0.0, True),
        ({"failed": 1}, 1.0, False),
        ({"ok": 1, "failed": 99}, 1.0, True),
        ({"failed": 371}, 0.05, False),
    ],
)
def test_a_share_and_at_least_one_row_may_be_lost_but_never_all(tmp_path, counts, share, passes):
    made = job(tmp_path, judgements(**counts))
    if passes:
        check(made, max_failed=share)
    else:
        with pytest.raises(WorkError, match="came to nothing"):
            check(made, max_failed=share)


def test_the_message_counts_names_and_advises(tmp_path):
    with pytest.raises(WorkError) as refused:
        check(job(tmp_path, judgements(ok=90, failed=7, unparsable=3)), max_failed=0.05)
    said = str(refused.value)
    assert (
        "judge, judgement: 10 of 100 rows came to nothing (7 failed, 3 unparsable); 10.0% where max_failed allows 5.0%."
        in said
    )
    assert "The commonest reason, 7 times: failed it is." in said
    assert "the same command, or Retry, asks again for what failed" in said


def test_what_the_audit_bounds_and_what_money_stops_is_left_to_them(tmp_path):
    check(job(tmp_path, judgements(ok=90, unparsable=10)), max_failed=0.05, bound_elsewhere=("unparsable",))
    check(job(tmp_path, judgements(ok=1, failed=99), units_open={"budget_stopped": 1}), max_failed=0.05)


def test_each_judge_counts_though_another_gives_every_total(tmp_path):
    job(tmp_path, judgements(failed=20), name="judgement_by_dead")
    with pytest.raises(WorkError, match="judgement_by_dead: 20 of 20"):
        check(job(tmp_path, judgements(ok=20)), max_failed=0.05)


def test_a_dead_group_stands_out_among_many_answers_of_others(tmp_path):
    rows = [
        Candidate(prompt_id=f"p{i:03}", candidate_id=f"student-{n}", text="a", source="student")
        for i in range(20)
        for n in range(30)
    ]
    dead = [
        Candidate(prompt_id=f"p{i:03}", candidate_id="api-0", text="", source="m", status="failed", error="HTTP 500")
        for i in range(20)
    ]
    with pytest.raises(WorkError, match="group api: 20 of 20 rows came to nothing"):
        check(job(tmp_path, rows + dead, name="candidate"), max_failed=0.05)


@pytest.mark.parametrize(
    ("dead_prompts", "refused_rows", "passes"), [(1, 0, True), (2, 0, False), (0, 4, True), (0, 5, False)]
)
def test_every_prompt_of_a_group_weighs_the_same(tmp_path, dead_prompts, refused_rows, passes):
    """A question that failed is one row, an answered one four; 20 prompts, of which 5 % may be lost."""

    def row(i, n, status):
        return Candidate(prompt_id=f"p{i:02}", candidate_id=f"api-{n}", text="a", source="m", status=status)

    rows = [row(i, 0, "failed") for i in range(dead_prompts)]
    for i in range(dead_prompts, 20):
        rows += [row(i, n, "refused" if n == 0 and i < dead_prompts + refused_rows else "ok") for n in range(4)]
    made = job(tmp_path, rows, name="candidate")
    if passes:
        check(made, max_failed=0.05)
    else:
        with pytest.raises(WorkError, match="group api: "):
            check(made, max_failed=0.05)


def test_feedback_that_failed_counts_and_gates_do_not(tmp_path):
    def rows(status, start=0):
        return [
            Feedback(
                prompt_id=f"p{i}", candidate_id="a-0", text="", annotator="ai", annotator_id="m",
                status=status,
            )
            for i in range(start, start + 10)
        ]  # fmt: skip

    check(job(tmp_path, [*rows("ok"), *rows("filtered", 10)], name="feedback"), max_failed=0.05)
    with pytest.raises(WorkError, match="feedback: 10 of 20"):
        check(job(tmp_path, [*rows("ok"), *rows("failed", 10)], name="feedback"), max_failed=0.05)


def artifact(step, counts=None, **metrics):
    manifest = SimpleNamespace(name=step, counts=counts or {}, metrics=metrics)
    return SimpleNamespace(step=step, stage=step.partition("/")[0], manifest=manifest)


def test_what_is_missing_is_said_in_a_sentence_a_step():
    found = shortfalls(
        [
            artifact("prompts", {"prompt": {"ok": 9, "duplicate": 3}}),
            artifact("generate", {"candidate": {"ok": 90, "truncated": 8, "failed": 2}}),
            artifact("judge", {"judgement": {"ok": 98}}, judges={"a": {"counts": {"ok": 90, "failed": 8}}}),
            artifact("order", {"partial_order": {"ok": 20, "single": 1, "unjudged": 4}}),
            artifact(
                "train/sft/seed-0", {"curve_point": {"ok": 5}}, examples={"offered": 30, "used": 11, "unusable": 4}
            ),
            artifact("train/dpo/seed-0", examples={"offered": 30, "used": 20, "of_no_use": 10}),
            artifact("generate", {"candidate": {"ok": 90, "truncated": 8, "failed": 2}}),
        ]
    )
    assert found == [
        "generate: 2 of 100 rows of the table candidate are not used: 2 failed.",
        "judge: 8 of 98 rows of the table judgement of judge a are not used: 8 failed.",
        "order: 5 of 25 rows of the table partial order are not used: 1 single, 4 unjudged.",
        "train/sft/seed-0: trained on only 11 of 34 examples.",
    ]
