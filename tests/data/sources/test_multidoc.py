import json
from pathlib import Path

import pytest

from hasse.data.errors import SourceError
from hasse.data.sources.multidoc import Settings, rows
from hasse.data.text import normalise_answer

TOPICS = ["apple", "brick", "cloud", "drum", "eagle", "flute", "grape", "harp"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.jsonl"

    def write(topics=TOPICS, **changes):
        items = [
            {
                "question": f"what about {t}?",
                "answers": [t],
                "gold_title": t.title(),
                "gold_text": f"Words on {t} here.",
                **changes,
            }
            for t in topics
        ]
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        return str(path)

    return write


def test_the_gold_document_stands_where_it_should(table):
    found = list(rows(Settings(path=table(), num_documents=5)))
    assert len(found) == 8 * 3
    for item in found:
        lines = item.text.split("\n")
        place = {"first": 0, "middle": 2, "last": 4}[item.group]
        assert [item.answers[0] in line for line in lines[:5]] == [i == place for i in range(5)]
        assert lines[5] == f"question: what about {item.answers[0]}?"


def test_variants_tell_one_document_each_in_the_same_order(table):
    item = next(iter(rows(Settings(path=table(), num_documents=4))))
    assert len(item.variants) == 4
    shown = [line.split("] ", 1)[1] for line in item.text.split("\n")[:4]]
    assert [v.split("\n")[0] for v in item.variants] == [f"[1] {line}" for line in shown]


def test_positions_of_a_question_share_a_cluster(table):
    found = list(rows(Settings(path=table())))
    assert len({r.cluster_key for r in found}) == 8


def test_appended_rows_change_few_of_the_former_items(table):
    before = {(r.cluster_key, r.group): r.text for r in rows(Settings(path=table(), num_documents=3))}
    after = {(r.cluster_key, r.group): r.text for r in rows(Settings(path=table([*TOPICS, "ivy"]), num_documents=3))}
    changed = {key for key, text in before.items() if after[key] != text}
    assert len({question for question, _ in changed}) <= 4


def test_a_question_that_all_documents_answer_is_a_row_with_an_error(table):
    path = table()
    with Path(path).open("a") as file:
        file.write(json.dumps({"question": "q", "answers": ["words"], "gold_title": "t", "gold_text": "words"}) + "\n")
    bad = [r for r in rows(Settings(path=path)) if r.error]
    assert {r.error for r in bad} == {"only 0 documents lack its answers"}
    assert {r.cluster_key for r in bad} == {"q"}


def test_long_documents_are_cut_around_the_answer(table):
    text = " ".join(f"w{i}" for i in range(100)) + " the answer apple stands late"
    found = next(iter(rows(Settings(path=table(["apple", "b", "c"], gold_text=text), num_documents=1, max_words=10))))
    line = found.text.split("\n")[0]
    assert "apple" in line
    assert len(line.split(": ", 1)[1].split()) == 10


@pytest.mark.parametrize("column", ["question", "answers", "gold_text"])
def test_an_empty_field_is_named(table, column):
    with pytest.raises(SourceError, match=f"row 1, field '{column}': is empty"):
        list(rows(Settings(path=table(**{column: ""}))))


def test_too_few_rows_are_an_error(table):
    with pytest.raises(SourceError, match="2 rows cannot give 5 documents"):
        list(rows(Settings(path=table(["a", "b"]))))


def test_answers_are_compared_as_squad_does():
    assert normalise_answer("The  Denver-Broncos!") == "denverbroncos"
    assert normalise_answer("An apple, a day") == "apple day"
