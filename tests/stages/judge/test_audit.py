"""The audit's numbers, worked on paper from rows."""

import random

import pytest
from pydantic import ValidationError
from scipy.stats import kendalltau, pearsonr
from sklearn.metrics import roc_auc_score

from hasse.data.errors import WorkError
from hasse.data.parquet import write_records
from hasse.data.records import Judgement, PairVerdict, Presentation
from hasse.stages.judge.agreement import agreement, kendall
from hasse.stages.judge.audit import MEASURES, audit
from hasse.stages.judge.audit_bounds import AuditSettings, check


def row(name, total, *, prompt_id="p", slots=(), totals=(), asks=1, **fields):
    shown = tuple(Presentation(slot=s, total=t, num_asks=asks) for s, t in zip(slots, totals, strict=True))
    order = ("a", "b", "c") if shown else ()
    fields = {"teacher": "openai", "presentations": shown, "presentation_order": order, **fields}
    return Judgement(prompt_id=prompt_id, candidate_id=name, total=total, **fields)


THREE = [
    row("a", 6.0, slots=(1, 3), totals=(8, 4), correct=True, verdicts=(PairVerdict(other="b", verdict="win"),)),
    row("b", 6.0, slots=(2, 1), totals=(5, 7), correct=False, verdicts=(PairVerdict(other="a", verdict="win"),)),
    row("c", 1.0, slots=(3, 2), totals=(1, 1), correct=False, verdicts=(PairVerdict(other="b", verdict="abstain"),)),
]
LENGTHS = {"a": 30, "b": 20, "c": 10}


def test_numbers_worked_on_paper():
    found = audit([(THREE, LENGTHS)])
    assert found["consistent"] == pytest.approx(2 / 3)
    assert found["reversed"] == pytest.approx(1 / 3)  # a over b, then b over a
    assert found["first_slot_preference"] == pytest.approx(((8 - 3) + (7 - 2.5)) / 2)
    assert found["tie"] == pytest.approx(1 / 3)
    assert found["gold_auc"] == pytest.approx((0.5 + 1) / 2)
    assert found["first_shown_wins"] == 1.0
    assert found["overruled"] == 0.0  # both shown first win: a tie, and the totals tie
    assert found["abstained"] == pytest.approx(1 / 6)  # of 3 judgements and 3 verdicts
    assert found["length_correlation"] == pytest.approx(50 / (50 / 3 * 200) ** 0.5)
    assert (found["calls"], found["calls_of_all_pairs"], found["calls_saved"]) == (5, 6, 1)
    assert found["refused"] == found["asked_again"] == 0


def test_a_wrong_answer_above_a_right_one_counts_against_the_teacher():
    found = audit([([row("a", 1.0, correct=False), row("b", 2.0, correct=True)], {"a": 1, "b": 1})])
    assert found["gold_auc"] == 1
    found = audit([([row("a", 3.0, correct=False), row("b", 2.0, correct=True)], {"a": 1, "b": 1})])
    assert found["gold_auc"] == 0


def test_a_tie_in_one_order_alone_is_neither_consistent_nor_reversed():
    rows = [row("a", 4.5, slots=(1, 2), totals=(5, 4)), row("b", 4.5, slots=(2, 1), totals=(5, 3))]
    found = audit([(rows, {"a": 1, "b": 1})])
    assert (found["consistent"], found["reversed"]) == (0, 0)


def test_lengths_are_compared_within_a_prompt():
    long = [row("a", 9.0, prompt_id="q"), row("b", 8.0, prompt_id="q")]
    short = [row("a", 2.0), row("b", 1.0)]
    found = audit([(short, {"a": 1, "b": 2}), (long, {"a": 101, "b": 102})])
    assert found["length_correlation"] == pytest.approx(-1)
    assert "calls" not in found


def test_rows_without_a_judgement_are_rates_and_nothing_else():
    rows = [
        row("a", 3.0, slots=(1,), totals=(3,), asks=2),
        row("b", None, slots=(2,), totals=(3,), asks=2, status="refused"),
        row("c", None, status="unparsable"),
        row("d", None),
    ]
    found = audit([(rows, dict.fromkeys("abcd", 1))])
    assert (found["refused"], found["unparsable"], found["failed"]) == (0.25, 0.25, 0)
    assert (found["abstained"], found["asked_again"], found["calls"]) == (0.5, 1.0, 2)
    assert not {"tie", "gold_auc", "consistent", "length_correlation", "tau"} & set(found)


def test_kendall_by_hand():
    assert kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert kendall([1, 2, 3], [3, 2, 1]) == -1
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / (2 * 3) ** 0.5)
    assert kendall([1, 1], [1, 2]) is None
    assert kendall([], []) is None


def test_another_teachers_table_is_compared_by_prompt(tmp_path):
    other = [row("a", 1.0), row("b", 2.0), row("c", 0.0), row("a", 1.0, prompt_id="q")]
    write_records(tmp_path / "other.parquet", other, Judgement)
    found = audit([(THREE, LENGTHS)], other=tmp_path / "other.parquet")
    assert found["tau"] == pytest.approx(2 / (2 * 3) ** 0.5)  # a and b tie here
    assert found["alike"] == pytest.approx(2 / 3)


def test_what_was_said_again_is_compared_where_it_was_asked(tmp_path):
    again = [row("a", 7.0), row("b", 4.0), row("c", None, status="refused")]
    write_records(tmp_path / "again.parquet", again, Judgement)
    elsewhere = [row("a", 1.0, prompt_id="q"), row("b", 2.0, prompt_id="q")]
    found = audit([(THREE, LENGTHS), (elsewhere, LENGTHS)], again=tmp_path / "again.parquet")
    assert found["repeat_alike"] == 0  # a and b tied before
    assert found["repeat_shift"] == pytest.approx((1 + 2) / 2)
    assert "repeat_tau" not in found
    assert "tau" not in found


def test_two_scorings_agree_as_far_as_they_score_the_same_candidates():
    first = {"a": 3.0, "b": 2.0, "c": 1.0, "x": 0.0}
    found = agreement([(first, {"a": 9.0, "b": 9.0, "c": 1.0}), ({"a": 1.0}, {"b": 1.0})])
    assert found.alike == pytest.approx(2 / 3)
    assert found.tau == pytest.approx(2 / (3 * 2) ** 0.5)
    assert found.shift == pytest.approx((6 + 7 + 0) / 3)
    assert found.num_prompts == 1
    assert agreement([({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0})]).alike == 1
    nothing = agreement([({}, {})])
    assert (nothing.tau, nothing.alike, nothing.shift, nothing.num_prompts) == (None, None, None, 0)


def test_a_larger_sample_of_prompts_asked_again_holds_a_smaller_one():
    ids = [f"p{i}" for i in range(400)]
    few, more = (AuditSettings(repeats=n).asked_again(ids) for n in (3, 10))
    assert (len(few), len(more)) == (3, 10)
    assert few < more < AuditSettings(repeats=0.1).asked_again(ids)
    assert 20 < len(AuditSettings(repeats=0.1).asked_again(ids)) < 60
    assert AuditSettings(repeats=1).asked_again(ids) < few
    assert AuditSettings().asked_again(ids) == set()


def test_a_bound_that_is_missed_is_named_with_the_value():
    found = {"consistent": 0.61, "length_correlation": -0.5, "tie": 0.2}
    check(found, AuditSettings(min_consistent=0.61, max_length_correlation=0.5, max_tie=0.2), where="judge")
    with pytest.raises(WorkError, match=r"judge: consistent of the judgements is 0\.61, audit\.min_consistent is 0\.8"):
        check(found, AuditSettings(min_consistent=0.8), where="judge")
    with pytest.raises(WorkError, match=r"length_correlation of the judgements is -0\.5, .* is 0\.4"):
        check(found, AuditSettings(max_length_correlation=0.4), where="judge")
    with pytest.raises(WorkError, match=r"audit\.min_gold_auc is 0\.5, but no judgement gives a value of gold_auc"):
        check(found, AuditSettings(min_gold_auc=0.5), where="judge")
    with pytest.raises(ValidationError, match="set compare_with"):
        AuditSettings(min_tau=0.2)
    with pytest.raises(ValidationError, match="set repeats"):
        AuditSettings(max_repeat_shift=0.2)
    with pytest.raises(ValidationError, match=r"repeats is 2\.5"):
        AuditSettings(repeats=2.5)


def test_of_several_judges_each_must_satisfy_what_is_not_measured_on_their_totals():
    found, judges = {"gold_auc": 0.8, "refused": 0.0}, {"a": {"gold_auc": 0.6, "refused": 0.3}, "b": {"refused": 0.1}}
    check(found, AuditSettings(min_gold_auc=0.7, max_refused=0.3), where="judge", judges=judges)
    with pytest.raises(
        WorkError, match=r"judge, judge a: refused of the judgements is 0\.3, audit\.max_refused is 0\.2"
    ):
        check(found, AuditSettings(max_refused=0.2), where="judge", judges=judges)
    with pytest.raises(WorkError, match=r"judge: gold_auc of the judgements is 0\.8"):
        check(found, AuditSettings(min_gold_auc=0.9), where="judge", judges=judges)
    with pytest.raises(WorkError, match="no judgement gives a value of consistent"):
        check(found, AuditSettings(min_consistent=0.9), where="judge", judges=judges)


def test_every_bound_is_one_of_a_number_that_is_measured(tmp_path):
    write_records(tmp_path / "same.parquet", THREE, Judgement)
    found = audit([(THREE, LENGTHS)], other=tmp_path / "same.parquet", again=tmp_path / "same.parquet")
    measured = {*found, "judges_tau", "judges_alike"}  # those of several judges: see test_judge
    names = [name for name in AuditSettings.model_fields if name.startswith(("min_", "max_"))]
    assert {name[4:] for name in names} <= measured <= set(MEASURES)


@pytest.mark.parametrize("seed", range(5))
def test_the_statistics_are_those_of_scipy_and_scikit_learn(seed):
    """One prompt with many candidates, with ties in both scorings."""
    rng = random.Random(seed)
    totals, others = ([float(rng.randint(1, 6)) for _ in range(40)] for _ in range(2))
    correct = [rng.random() < 0.3 + total / 12 for total in totals]
    lengths = {f"c{i}": rng.randint(1, 90) for i in range(40)}
    rows = [row(f"c{i}", totals[i], correct=correct[i]) for i in range(40)]
    found = audit([(rows, lengths)])
    assert found["gold_auc"] == pytest.approx(roc_auc_score(correct, totals))
    assert found["length_correlation"] == pytest.approx(pearsonr(totals, list(lengths.values())).statistic)
    assert kendall(totals, others) == pytest.approx(kendalltau(totals, others).statistic)


@pytest.mark.parametrize("total", [0.1, 0.2, 0.7, 6.0])
def test_a_teacher_that_ties_all_has_no_correlation_with_length(total):
    """The mean of 0.1, 0.1 and 0.1 is not quite 0.1; what is left over is no preference."""
    found = audit([([row(name, total) for name in "abc"], LENGTHS)])
    assert "length_correlation" not in found
    assert kendall([total] * 3, [1.0, 2.0, 3.0]) is None
