"""What the report says of graded answers."""

import pytest

from hasse.data.records import Evaluation
from hasse.stages.report.answers import GradedAnswers
from hasse.stages.report.results import results


class Graded:
    """An evaluation artifact in memory."""

    def __init__(self, arm, seed, right, logprob=None, score=None):
        self.labels = {"arm": arm, "seed": seed}
        self.rows = [
            Evaluation(
                prompt_id=f"p{i:03}", cluster_id=f"p{i:03}", split="test", group="even" if i % 2 == 0 else "odd",
                decoding="greedy", text="", num_tokens=1, correct_strict=r, correct_loose=r, score=score,
                reference_logprob=logprob, reference_tokens=4,
            )
            for i, r in enumerate(right)
        ]  # fmt: skip

    def label(self, name):
        return self.labels[name]

    def records(self, _):
        return iter(self.rows)


def found(*graded, baselines=("student",), sequences=None):
    return results(
        GradedAnswers(graded),
        baselines=baselines,
        primary="strict",
        num_resamples=200,
        sequences=sequences,  # type: ignore[arg-type]
    )


HALF, MOST = [True, False] * 20, [True] * 30 + [False] * 10


def test_accuracies_differences_and_groups():
    student, arm = found(Graded("student", 0, HALF), Graded("sft", 0, MOST), Graded("sft", 1, MOST))
    assert (student.strict.mean, arm.strict.mean) == (0.5, 0.75)
    assert arm.differences["student"].mean == pytest.approx(0.25)
    assert student.differences == {}
    assert (arm.num_seeds, arm.num_prompts) == (2, 40)
    assert student.by_group["even"].mean == 1.0
    assert student.by_group["odd"].mean == 0.0


def test_drift_is_the_difference_from_the_student_a_token():
    student, arm = found(Graded("student", 0, HALF, logprob=-8.0), Graded("sft", 0, HALF, logprob=-6.0))
    assert student.drift is None
    assert arm.drift is not None
    assert arm.drift.mean == pytest.approx(0.5)
    assert found(Graded("student", 0, HALF), Graded("sft", 0, HALF))[1].drift is None


def test_scores_are_shown_where_every_answer_has_one():
    graded = [Graded("student", 0, HALF, score=0.25), Graded("sft", 0, HALF, score=0.5)]
    assert [r.score.mean for r in found(*graded) if r.score] == [0.25, 0.5]
    assert found(graded[0], Graded("sft", 0, HALF))[0].score is None


def test_two_arms_with_one_artifact_keep_their_own_rows():
    graded = Graded("twin", 0, MOST)
    other = Graded("sft", 0, MOST)
    assert [r.arm for r in found(Graded("student", 0, HALF), other, graded)] == ["student", "sft", "twin"]
