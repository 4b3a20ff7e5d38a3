"""A queue out, filled lines in: every line checked, nothing lost, agreement worked out."""

import json

import pytest

from hasse.data.errors import InputError, SourceError
from hasse.data.records import Candidate, Feedback, Judgement, Prompt
from hasse.stages.feedback.items import AnnotationItem
from hasse.stages.feedback.queue import agreement, queue, read_filled, write_queue
from hasse.stages.grading import TaskSettings


@pytest.fixture
def queued(tmp_path):
    """A queue of four answers, and its rows."""
    items = []
    for i in range(4):
        ids = {"prompt_id": f"p{i}", "candidate_id": "student-0"}
        prompt = Prompt(
            text=f"question {i}", answers=(f"gold {i}",), source="s", cluster_id="c", split="train", prompt_id=f"p{i}"
        )
        candidate = Candidate(**ids, text=f"answer {i}", source="student")
        items.append(
            AnnotationItem(
                prompt=prompt, candidate=candidate, judgement=Judgement(**ids, teacher="rule", correct=False)
            )
        )
    path = tmp_path / "queue.jsonl"
    assert write_queue(queue(items, TaskSettings()), path) == 4
    return path, [json.loads(line) for line in path.read_text().splitlines()]


def filled(path, rows, **changes):
    path.write_text("".join(json.dumps({**row, **changes}) + "\n" for row in rows))
    return path


GOOD = {"verdict": "wrong", "feedback": "It should have been gold.", "annotator": "ann"}


def test_the_queue_shows_what_is_needed_and_guidelines_lie_beside_it(queued):
    path, rows = queued
    assert rows[0] | {"item": ""} == {
        "item": "", "prompt_id": "p0", "candidate_id": "student-0", "prompt": "question 0", "answer": "answer 0",
        "right_answer": "gold 0", "verdict": "", "feedback": "", "annotator": "",
    }  # fmt: skip
    assert "right_answer" in path.with_suffix(".guidelines.md").read_text()
    assert len({row["item"] for row in rows}) == 4


def test_filled_lines_come_back_with_who_wrote_them(queued, tmp_path):
    path, rows = queued
    found = read_filled(filled(tmp_path / "f.jsonl", rows, **GOOD), path)
    assert [(f.prompt_id, f.annotator, f.annotator_id, f.verdict) for f in found] == [
        (f"p{i}", "human", "ann", "wrong") for i in range(4)
    ]


def test_a_partly_filled_file_is_accepted(queued, tmp_path):
    path, rows = queued
    part = tmp_path / "f.jsonl"
    part.write_text("".join(json.dumps(row | (GOOD if i == 2 else {})) + "\n" for i, row in enumerate(rows)))
    assert [f.prompt_id for f in read_filled(part, path)] == ["p2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item": "nonsense"}, "item.*not in the queue"),
        ({"answer": "mended"}, "answer.*changed"),
        ({"prompt": "other"}, "prompt.*changed"),
        ({"verdict": "maybe"}, "verdict.*'maybe' is neither right nor wrong"),
        ({"verdict": ""}, "verdict.*neither"),
        ({"feedback": ""}, "feedback.*empty"),
        ({"annotator": " "}, "annotator.*who wrote"),
        ({"annotator": "\u200b"}, "annotator.*who wrote"),
        ({"annotator": ["ann"]}, "annotator.*must be text, found"),
        ({"feedback": {"why": "x"}}, "feedback.*must be text, found"),
        ({"feedback": 5}, "feedback.*must be text, found 5"),
        ({"feedback": "\ufeff"}, "feedback.*empty"),
        ({"feedback": "x\ud800"}, "feedback.*half of a character"),
        ({"verdict": True}, "verdict.*must be text"),
    ],
)
def test_a_wrong_line_is_named(queued, tmp_path, changes, message):
    path, rows = queued
    with pytest.raises(SourceError, match=rf"(?s)f\.jsonl.*1.*{message}"):
        read_filled(filled(tmp_path / "f.jsonl", rows[:1], **{**GOOD, **changes}), path)


def test_one_person_does_not_annotate_an_item_twice(queued, tmp_path):
    path, rows = queued
    with pytest.raises(SourceError, match=r"2.*'ann' has annotated this item before"):
        read_filled(filled(tmp_path / "f.jsonl", [rows[0], rows[0]], **GOOD), path)


def test_agreement_of_two_people(queued, tmp_path):
    path, rows = queued
    one = read_filled(filled(tmp_path / "a.jsonl", rows, **GOOD), path)
    assert agreement(one).num_pairs == 0
    mixed = tmp_path / "b.jsonl"
    verdicts = ["wrong", "wrong", "right", "right"]
    mixed.write_text(
        "".join(
            json.dumps({**r, **GOOD, "annotator": "bob", "verdict": v}) + "\n"
            for r, v in zip(rows, verdicts, strict=True)
        )
    )
    found = agreement([*one, *read_filled(mixed, path)])
    assert (found.num_pairs, found.agreement) == (4, 0.5)
    # One always says wrong, the other half the time: by chance they would agree on 0.5, as they do. Scott's pi,
    # which takes both for one person, would be -1/3.
    assert found.kappa == pytest.approx(0.0)


def verdicts(**said):
    """Feedback of people: name -> r, w or - for each item."""
    return [
        Feedback(
            prompt_id=f"p{item}", candidate_id="c", text="", verdict={"r": "right", "w": "wrong", "-": None}[letter],
            annotator="human", annotator_id=name,
        )
        for name, letters in said.items()
        for item, letter in enumerate(letters)
        if letter != " "
    ]  # fmt: skip


def test_kappa_keeps_the_two_people_apart():
    """6 of 10 alike. ann says right 9 times, bob 5: by chance 0.9 x 0.5 + 0.1 x 0.5 = 0.5, so (0.6 - 0.5) / 0.5.

    Scott's pi pools both: right 0.7, by chance 0.49 + 0.09 = 0.58, so 0.048.
    """
    found = agreement(verdicts(ann="rrrrrrrrrw", bob="rrrrrwwwww"))
    assert (found.num_pairs, found.agreement) == (10, 0.6)
    assert found.kappa == pytest.approx(0.2)
    assert agreement(verdicts(bob="rrrrrwwwww", ann="rrrrrrrrrw")).kappa == pytest.approx(0.2)


def test_kappa_of_more_than_two_people_is_the_mean_over_every_two():
    """ann and bob as above on 10 items, ann and cat fully alike on 2 of these, bob and cat alike on 1 of 2."""
    found = agreement(verdicts(ann="rrrrrrrrrw", bob="rrrrrwwwww", cat="        rw"))
    # bob says wrong to both items that cat calls right and wrong: by chance 0.5, so 0
    assert found.num_pairs == 14
    assert found.kappa == pytest.approx((10 * 0.2 + 2 * 1.0 + 2 * 0.0) / 14)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"ann": "rr  ", "bob": "  rr"}, (0, None, None)),
        ({"ann": "rr", "bob": "--"}, (0, None, None)),
        ({"ann": "rrr", "bob": "rrr"}, (3, 1.0, None)),
        ({"ann": "rrr", "bob": "www"}, (3, 0.0, 0.0)),
        ({"ann": "rrr", "bob": "rrw"}, (3, pytest.approx(2 / 3), 0.0)),
        ({}, (0, None, None)),
    ],
)
def test_agreement_where_there_is_little_to_compare(said, expected):
    found = agreement(verdicts(**said))
    assert (found.num_pairs, found.agreement, found.kappa) == expected


def test_one_person_is_no_two():
    with pytest.raises(InputError, match="'ann' has annotated answer c to prompt p0 twice"):
        agreement(verdicts(ann="r") + verdicts(ann="r"))


def test_perfect_agreement_has_kappa_one(queued, tmp_path):
    path, rows = queued
    verdicts = ["wrong", "right", "wrong", "right"]
    both = []
    for name in ("ann", "bob"):
        file = tmp_path / f"{name}.jsonl"
        lines = ({**r, **GOOD, "annotator": name, "verdict": v} for r, v in zip(rows, verdicts, strict=True))
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        both += read_filled(file, path)
    assert (agreement(both).agreement, agreement(both).kappa) == (1.0, 1.0)
