"""Scores out of the text of reviews, as GPT-4 wrote them."""

import json
import os
from pathlib import Path

import pytest

from hasse.stages.judge.review_scores import two_scores

DATA = Path(os.environ.get("HASSE_TEST_DATA", "absent"))

MISRECORDED = {229: (10.0, 4.0), 389: (10.0, 4.0)}
"""Rows whose text states other scores than were recorded by hand, and what it states."""


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("9 8\nAssistant 1 is better.", (9.0, 8.0)),
        ("7.5, 10\n", (7.5, 10.0)),
        ("8 9", (8.0, 9.0)),
        ("First, 3 4.\nScores:\nAssistant 1: 10\nAssistant 2: 4 (two steps are missing)\n\nDone.", (10.0, 4.0)),
        ("Let me see.\nAssistant 1: 1/10 (wrong)\nAssistant 2: 2/10", (1.0, 2.0)),
        ("From (2, 3) to (10, 4).\nAssistant 1:\nright.\n\nOutput: (1, 10)", (1.0, 10.0)),
        ("Assistant 1:\n3x = 9\nAssistant 2: 3x = 6", None),
        ("9\n8\nboth are good", None),
        ("Both are good.", None),
        ("", None),
    ],
)
def test_scores_are_read_where_they_are_stated_and_never_guessed(text, scores):
    assert two_scores(text) == scores


@pytest.mark.skipif(not DATA.is_dir(), reason="HASSE_TEST_DATA names a folder with the Vicuna reviews")
def test_real_reviews_give_the_recorded_scores_but_for_two_that_were_recorded_wrongly():
    rows = [json.loads(line) for line in (DATA / "vicuna_gpt4_reviews.jsonl").read_text().splitlines()]
    found = [two_scores(row["review_text"]) for row in rows]
    recorded = [(row["score1"], row["score2"]) for row in rows]
    assert {i: f for i, (f, r) in enumerate(zip(found, recorded, strict=True)) if f != r} == MISRECORDED
    for i in MISRECORDED:
        assert "Assistant 1: 10\nAssistant 2: 4" in rows[i]["review_text"]
