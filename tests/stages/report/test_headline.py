"""The sentences that a report begins with."""

from hasse.stages.report.headline import headline
from hasse.stages.report.results import Result
from hasse.stages.statistics.bootstrap import Interval


def interval(mean, low, high, error=0.01):
    return Interval(mean=mean, low=low, high=high, error=error)


GOOD, BETTER = interval(0.041, 0.012, 0.07), interval(0.2, 0.1, 0.3)
BAD = interval(-0.1, -0.15, -0.05)
SAME, LIKE = interval(0.01, -0.02, 0.04), interval(-0.038, -0.08, 0.004)


def result(arm, decoding="greedy", **differences):
    plain = interval(0.5, 0.4, 0.6)
    return Result(
        arm=arm, decoding=decoding, num_seeds=1, num_prompts=10, strict=plain, loose=plain, score=None,
        differences=differences, pairs=None, sequences=None, drift=None, by_group={},
    )  # fmt: skip


POWER = "A true difference of 2.8 points would be found in 4 of 5 such experiments."


def sentences(**differences):
    return headline([result(arm, student=d) for arm, d in differences.items()], ["student"])


def test_the_headline_says_what_is_better_what_is_worse_and_what_is_unclear():
    assert sentences(rescue=GOOD, tuna=BETTER, dpo=BAD, sft=SAME, best_of_k=LIKE) == [
        "On greedy answers, rescue (+4.1 points, 95 % interval 1.2 to 7.0) and tuna (+20.0, 10.0 to 30.0) are better "
        "than the student; dpo (-10.0, -15.0 to -5.0) is worse; sft (+1.0) and best_of_k (-3.8) show no clear "
        "difference.",
        POWER,
    ]


def test_the_first_clause_names_the_baseline_and_the_unit():
    assert sentences(best_of_k=LIKE)[0] == (
        "On greedy answers, best_of_k (-3.8 points) shows no clear difference from the student."
    )
    assert sentences(dpo=BAD, sft=SAME)[0] == (
        "On greedy answers, dpo (-10.0 points, 95 % interval -15.0 to -5.0) is worse than the student; "
        "sft (+1.0) shows no clear difference."
    )


def test_each_decoding_and_baseline_has_a_sentence():
    small = interval(0.01, -0.02, 0.04, error=0.02)
    rows = [
        result("student"),
        result("rescue", student=GOOD, sft=SAME),
        result("rescue", "sampled", student=BETTER, sft=small),
    ]
    assert headline(rows, ["student", "sft"]) == [
        "On greedy answers, rescue (+4.1 points, 95 % interval 1.2 to 7.0) is better than the student.",
        "On greedy answers, rescue (+1.0 points) shows no clear difference from sft.",
        "On sampled answers, rescue (+20.0 points, 95 % interval 10.0 to 30.0) is better than the student.",
        "On sampled answers, rescue (+1.0 points) shows no clear difference from sft.",
        "A true difference of 2.8 to 5.6 points, depending on the comparison, would be found in 4 of 5 such "
        "experiments.",
    ]


def test_without_a_comparison_there_is_no_headline():
    assert headline([result("student")], ["student"]) == []
