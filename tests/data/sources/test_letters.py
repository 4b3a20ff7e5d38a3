import pytest

from hasse.data.errors import SourceError
from hasse.data.records import HELD_OUT
from hasse.data.sources import letters
from hasse.stages.grading import edit_similarity
from hasse.stages.prompts.held_out import prove_disjoint
from hasse.stages.prompts.stage import PromptsSection, build_prompts


def rows(**settings):
    return list(
        letters.rows(letters.Settings(num_pretrain=100, num_train=300, num_validation=50, num_test=50, **settings))
    )


@pytest.mark.parametrize("settings", [{}, {"hidden": 2}, {"hidden": 2, "mended": True}])
def test_splits_share_nothing_and_have_their_size(settings):
    prompts = build_prompts(rows(**settings), PromptsSection(near_duplicate_threshold=1.0), source="letters", labels=())
    assert all(p.status == "ok" for p in prompts)
    assert {s: sum(p.split == s for p in prompts) for s in ("pretrain", "train", "test")} == {
        "pretrain": 100, "train": 300, "test": 50,
    }  # fmt: skip
    prove_disjoint([p for p in prompts if p.split not in HELD_OUT], [p for p in prompts if p.split in HELD_OUT])


def test_the_truth_is_the_letters_in_order():
    for row in rows():
        assert row.answers == (" ".join(sorted(row.text.removeprefix("order: ").split())),)


def test_hidden_letters_are_in_the_answer_and_not_in_the_prompt():
    for row in rows(hidden=2):
        shown = row.text.removeprefix("order: ").split()
        assert shown.count("_") == 2
        assert set(shown) - {"_"} < set(row.answers[0].split())


def test_a_mended_draft_is_never_further_from_the_truth_on_average_and_like_the_other():
    mended, apart = rows(mended=True), rows()

    def near(found):
        return sum(edit_similarity(r.drafts[1], r.drafts[0]) for r in found) / len(found)

    gain = sum(edit_similarity(r.drafts[1], r.answers[0]) - edit_similarity(r.drafts[0], r.answers[0]) for r in mended)
    assert gain / len(mended) > 0.1
    assert near(mended) > near(apart) + 0.1


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("a b c d e", "a b c d e", 1),
        ("b a c d e", "a b c d e", 0.6),
        ("a b c d", "a b c d e", 0.8),
        ("x y z w v u", "a b", 0),
    ],
)
def test_nearness_is_one_less_the_edit_distance(prediction, gold, expected):
    assert edit_similarity(prediction, gold) == pytest.approx(expected)


def test_more_prompts_leave_the_first_ones_as_they_were():
    few = list(letters.rows(letters.Settings(num_pretrain=0, num_train=50, num_validation=0, num_test=0)))
    many = list(letters.rows(letters.Settings(num_pretrain=0, num_train=80, num_validation=0, num_test=0)))
    assert many[:50] == few


def test_more_prompts_than_there_are_is_an_error():
    with pytest.raises(SourceError, match="the split train has fewer than 3000 different prompts; lower num_train"):
        list(letters.rows(letters.Settings(num_pretrain=0, num_train=3000, hidden=2)))
