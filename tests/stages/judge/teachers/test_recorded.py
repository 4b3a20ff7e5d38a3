"""Judgements from a file."""

import csv
import json

import pytest

from hasse.data.errors import InputError, SourceError
from hasse.data.parquet import write_records
from hasse.data.records import AspectScore, Candidate, Judgement, Presentation, Prompt
from hasse.data.tables import write_rows
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.teachers import recorded

PROMPT = Prompt(prompt_id="p", text="?", label="yes", source="s", cluster_id="p", split="train")
TASK = TaskSettings(labels=("yes", "no"))
TWO = [
    {"prompt_id": "p", "candidate_id": "a", "total": 7.5, "aspects": {"clarity": 8}, "rationale": "Fine."},
    {"prompt_id": "p", "candidate_id": "b", "aspects": {"clarity": 2, "truth": 5}},
]


def lines(path, *rows):
    path.write_text("".join(json.dumps({"prompt_id": "p", **row}) + "\n" for row in rows))
    return path


def judged(path, *names, **settings):
    texts = [Candidate(prompt_id="p", candidate_id=n, text=f"{n}\nlabel: yes", source="student") for n in names]
    (found,) = recorded.judge([(PROMPT, texts)], recorded.Settings(path=str(path), **settings), TASK, None)
    assert [j.candidate_id for j in found] == list(names)
    return found


def as_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt_id", "candidate_id", "total", "aspects", "rationale"])
        writer.writeheader()
        writer.writerows({**row, "aspects": json.dumps(row["aspects"])} for row in rows)
    return path


def as_parquet(path, rows):
    write_rows(path, [{**row, "aspects": [{"name": n, "score": s} for n, s in row["aspects"].items()]} for row in rows])
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_totals_and_aspects_are_served_whatever_the_format(tmp_path, suffix):
    write = {"jsonl": lambda path, rows: lines(path, *rows), "csv": as_csv, "parquet": as_parquet}[suffix]
    b, a = judged(write(tmp_path / f"j.{suffix}", TWO), "b", "a")
    assert (a.total, b.total) == (7.5, 3.5)
    assert b.aspects == (AspectScore(name="clarity", score=2.0), AspectScore(name="truth", score=5.0))
    assert (a.rationale, b.rationale, a.label, a.correct, a.teacher) == ("Fine.", None, "yes", True, "recorded")


def test_a_parquet_column_of_objects_has_no_score_where_a_row_lacks_the_name(tmp_path):
    write_rows(tmp_path / "j.parquet", [{**row, "total": None, "rationale": None} for row in TWO])
    assert [j.total for j in judged(tmp_path / "j.parquet", "a", "b")] == [8.0, 3.5]


def test_a_review_gives_the_score_of_the_slot(tmp_path):
    review = "9 8\nAssistant 1 is better."
    path = lines(
        tmp_path / "r.jsonl",
        {"candidate_id": "a", "reply": review, "slot": 1},
        {"candidate_id": "b", "reply": review, "slot": "2"},
        {"candidate_id": "c", "reply": "Both are fine.", "slot": 2},
    )
    a, b, c = judged(path, "a", "b", "c")
    assert (a.total, b.total, a.rationale) == (9.0, 8.0, review)
    assert b.presentations == (Presentation(slot=2, total=8.0),)
    assert (c.status, c.total, c.error) == ("unparsable", None, "the review states no two scores")


def test_a_table_of_the_store_is_such_a_file(tmp_path):
    rows = [
        Judgement(prompt_id="p", candidate_id="a", teacher="x", total=2.0, aspects=(AspectScore(name="n", score=3.0),)),
        Judgement(prompt_id="p", candidate_id="b", teacher="x", status="refused", error="I will not."),
    ]
    write_records(tmp_path / "judgement.parquet", rows, Judgement)
    a, b = judged(tmp_path / "judgement.parquet", "a", "b")
    assert (a.total, a.aspects) == (2.0, rows[0].aspects)
    assert (b.status, b.total, b.error) == ("refused", None, "I will not.")


def test_a_missing_row_is_named_or_filtered(tmp_path):
    path = lines(tmp_path / "j.jsonl", *TWO)
    with pytest.raises(InputError, match=r"j\.jsonl has no row of prompt p, candidate c; add it"):
        judged(path, "a", "c")
    a, c = judged(path, "a", "c", missing="filtered")
    assert (a.status, c.status, c.total) == ("ok", "filtered", None)


def test_a_row_may_be_repeated_but_not_contradicted(tmp_path):
    assert judged(lines(tmp_path / "j.jsonl", TWO[0], TWO[0]), "a")[0].total == 7.5
    with pytest.raises(SourceError, match=r"row 3: judges prompt p, candidate a otherwise than row 1"):
        judged(lines(tmp_path / "k.jsonl", *TWO, {**TWO[0], "total": 7}), "a")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"total": 1}, "row 1, field 'candidate_id': is missing"),
        ({"candidate_id": "a"}, "field 'total': is missing; a row has total, aspects, or reply with slot"),
        ({"candidate_id": "a", "total": "much"}, "field 'total': 'much' is not a finite number"),
        ({"candidate_id": "a", "total": "nan"}, "not a finite number"),
        ({"candidate_id": "a", "aspects": {"n": "x"}}, "field 'aspects': 'x' is not a finite number"),
        ({"candidate_id": "a", "aspects": [3]}, "field 'aspects': must be scores by name"),
        ({"candidate_id": "a", "reply": "9 8"}, "field 'slot': is None; it must be 1 or 2"),
        ({"candidate_id": "a", "status": "good"}, "field 'status': 'good' is none of ok, refused"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, message):
    with pytest.raises(SourceError, match=message):
        judged(lines(tmp_path / "j.jsonl", row), "a")


def test_the_content_of_the_file_enters_the_key(tmp_path):
    settings = recorded.Settings(path=str(lines(tmp_path / "j.jsonl", *TWO)))
    before = recorded.external(settings)
    lines(tmp_path / "j.jsonl", TWO[0])
    assert recorded.external(settings) != before
    with pytest.raises(SourceError, match="no such file"):
        recorded.external(recorded.Settings(path=str(tmp_path / "absent.jsonl")))
