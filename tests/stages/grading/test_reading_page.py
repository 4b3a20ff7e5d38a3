"""The tables of docs/reading.md are what the code does."""

import re
from pathlib import Path

import pytest

from hasse.data.records import Prompt
from hasse.stages.grading import READINGS, TaskSettings, grade, stated

PAGE = Path(__file__).parents[3] / "docs" / "reading.md"
RIGHT = {"right": True, "wrong": False}


def rows(header):
    """The cells of each row of the tables that begin with this header."""
    tables = PAGE.read_text(encoding="utf-8").split(header)[1:]
    for table in tables:
        for line in table.splitlines()[2:]:
            if not line.startswith("|"):
                break
            yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell):
    """The text of a code span; ⏎ is a line's end."""
    return re.fullmatch(r"(`+) ?(.*?) ?\1", cell)[2].replace("⏎", "\n")


def prompt(**fields):
    return Prompt(prompt_id="p", text="?", source="s", cluster_id="p", split="test", **fields)


QUESTIONS = list(rows("| gold answer | answer |"))
LABELS = list(rows("| labels | answer |"))


def test_the_page_has_its_tables():
    assert len(QUESTIONS) > 100
    assert len(LABELS) > 35


@pytest.mark.parametrize("cells", QUESTIONS, ids=lambda cells: " / ".join(cells[:2]))
def test_questions_are_read_as_the_page_says(cells):
    gold, answer, *expected = cells
    asked = prompt(answers=(code(gold),))
    found = grade(code(answer), asked, TaskSettings())
    for reading, verdict in zip(READINGS, expected, strict=True):
        assert getattr(found, f"correct_{reading}") is RIGHT[verdict]
        assert stated(code(answer), asked, TaskSettings(reading=reading))[1] is RIGHT[verdict]


@pytest.mark.parametrize("cells", LABELS, ids=lambda cells: " / ".join(cells[:2]))
def test_labels_are_read_as_the_page_says(cells):
    given, answer, *expected = cells
    labels = tuple(code(label.strip()) for label in given.split(", "))
    for reading, label in zip(READINGS, expected, strict=True):
        task = TaskSettings(labels=labels, reading=reading)
        wanted = None if label == "-" else code(label)
        assert stated(code(answer), prompt(label=labels[0]), task) == (wanted, wanted == labels[0])
