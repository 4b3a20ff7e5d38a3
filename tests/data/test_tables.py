"""Reading sources: fields, and what is wrong with them, named by file, row and field."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hasse.data.errors import SourceError
from hasse.data.field_mapping import Fields, TableSettings
from hasse.data.sources import csv, datasets, esnli, jsonl, parquet

MAPPING = {"text": "{a} {b}", "label": "label", "reference": "{why}\nlabel: {label}"}
ROWS = [{"a": "x", "b": "y", "why": "z", "label": "l"}, {"a": "1", "b": "2", "why": "3", "label": "4"}]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path, **settings):
    return list(jsonl.rows(jsonl.Settings(path=str(path), **{"fields": MAPPING, **settings})))


def problem(path, **settings) -> str:
    with pytest.raises(SourceError) as caught:
        read(path, **settings)
    return str(caught.value)


def test_fields_are_columns_or_templates(tmp_path):
    first, second = read(write(tmp_path / "t.jsonl", ROWS))
    assert (first.text, first.label, first.reference) == ("x y", "l", "z\nlabel: l")
    assert (second.text, second.row) == ("1 2", 2)


def test_every_kind_of_table_gives_the_same_prompts(tmp_path):
    import datasets as hub

    expected = [(r.text, r.label, r.reference) for r in read(write(tmp_path / "t.jsonl", ROWS))]
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("a,b,why,label\nx,y,z,l\n1,2,3,4\n")
    hub.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    for module, name in ((parquet, "t.parquet"), (csv, "t.csv"), (datasets, "saved")):
        settings = module.Settings(path=str(tmp_path / name), fields=Fields(**MAPPING))
        assert [(r.text, r.label, r.reference) for r in module.rows(settings)] == expected
        assert len(module.digest(settings)) == 64


def test_a_folder_that_grows_gives_its_new_files_last(tmp_path):
    write(tmp_path / "2026-01.jsonl", ROWS[:1])
    before = jsonl.digest(jsonl.Settings(path=str(tmp_path), fields=MAPPING))
    write(tmp_path / "2026-02.jsonl", ROWS[1:])
    assert [r.text for r in read(tmp_path)] == ["x y", "1 2"]
    assert [r.text for r in read(tmp_path / "*.jsonl")] == ["x y", "1 2"]
    assert jsonl.digest(jsonl.Settings(path=str(tmp_path), fields=MAPPING)) != before


def test_documents_make_variants(tmp_path):
    rows = [{"q": "who?", "docs": ["one", "two"], "golds": ["x"]}]
    fields = {"text": "{documents}\n{q}", "documents": "docs", "answers": "golds"}
    (found,) = read(write(tmp_path / "t.jsonl", rows), fields=fields)
    assert found.text == "[1] one\n[2] two\nwho?"
    assert found.variants == ("[1] one\nwho?", "[1] two\nwho?")
    assert found.answers == ("x",)


def test_messages_are_kept(tmp_path):
    rows = [{"m": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}]
    (found,) = read(write(tmp_path / "t.jsonl", rows), fields={"messages": "m"})
    assert [(m.role, m.content) for m in found.messages or ()] == [("system", "s"), ("user", "u")]


def test_a_missing_file_is_named(tmp_path):
    assert problem(tmp_path / "no.jsonl").startswith(f"{tmp_path}/no.jsonl: there is no such file")


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    text = problem(write(tmp_path / "t.jsonl", ROWS), fields={"text": "{a} {bb}"})
    assert text.startswith(f"{tmp_path}/t.jsonl, row 1, field 'bb'")
    assert "did you mean 'b'?" in text


def test_an_empty_source_is_an_error(tmp_path):
    (tmp_path / "t.jsonl").write_text("\n")
    assert "holds no rows" in problem(tmp_path / "t.jsonl")


def test_a_line_that_is_not_json_is_named(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps(ROWS[0]) + "\n{oops\n")
    assert "t.jsonl, row 2: is not JSON" in problem(tmp_path / "t.jsonl")
    (tmp_path / "t.jsonl").write_text("[1]\n")
    assert "row 1: must be an object, found list" in problem(tmp_path / "t.jsonl")


@pytest.mark.parametrize("empty", ["", "  ", None])
def test_a_row_without_prompt_stops_or_is_kept_aside(tmp_path, empty):
    path = write(tmp_path / "t.jsonl", [{"text": "fine"}, {"text": empty}])
    assert "row 2, field 'text': has no prompt" in problem(path, fields={})
    fine, kept = read(path, fields={}, on_bad_row="keep")
    assert (fine.error, kept.error) == (None, "field 'text': has no prompt")


def test_a_wrong_type_is_quoted(tmp_path):
    path = write(tmp_path / "t.jsonl", [{"text": {"a": 1}}])
    assert "field 'text': must be text, found dict" in problem(path, fields={})
    path = write(tmp_path / "t.jsonl", [{"text": "a", "golds": 3}])
    assert "field 'golds': must be a list of texts" in problem(path, fields={"answers": "golds"})
    path = write(tmp_path / "t.jsonl", [{"m": ["x"]}])
    assert "field 'm': must be a list of {role, content}" in problem(path, fields={"messages": "m"})


def test_a_truncated_parquet_file_is_named(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-9])
    with pytest.raises(SourceError, match=r"t\.parquet: cannot be read as parquet"):
        list(parquet.rows(parquet.Settings(path=str(tmp_path / "t.parquet"))))


def test_a_csv_row_with_too_many_cells_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("text\na\nb,c\n")
    with pytest.raises(SourceError, match=r"t\.csv, row 3: has more cells than the header's 1"):
        list(csv.rows(csv.Settings(path=str(tmp_path / "t.csv"))))


def test_a_dataset_that_cannot_be_loaded_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match="neither a saved folder nor a data set"):
        list(datasets.rows(datasets.Settings(path=str(tmp_path / "nothing"))))


def test_esnli_answers_are_explanation_then_label(tmp_path):
    row = {"premise": "P .", "hypothesis": "H .", "label": "neutral", "explanation_1": "E", "explanation_2": "F"}
    path = write(tmp_path / "t.jsonl", [row])
    (found,) = esnli.rows(esnli.Settings(path=str(path)))
    assert found.text == "premise: P .\nhypothesis: H ."
    assert found.reference == "E\nlabel: neutral"
    assert found.cluster_key == "P ."


def test_a_row_limit_is_kept(tmp_path):
    assert len(read(write(tmp_path / "t.jsonl", ROWS), limit=1)) == 1


def test_settings_must_name_known_fields():
    with pytest.raises(ValueError, match="txt"):
        TableSettings(path="x", fields={"txt": "a"})  # type: ignore[arg-type]


def test_a_folder_gives_its_tables_and_no_half_written_or_other_files(tmp_path):
    row = {"premise": "P .", "hypothesis": "H .", "label": "neutral", "explanation_1": "E"}
    write(tmp_path / "b.jsonl", [row])
    (tmp_path / "a.csv").write_text("premise,hypothesis,label,explanation_1\nQ .,H .,neutral,E\n")
    write(tmp_path / ".c.jsonl", [row])
    (tmp_path / "README.md").write_text("what this is")
    settings = esnli.Settings(path=str(tmp_path))
    assert [r.cluster_key for r in esnli.rows(settings)] == ["Q .", "P ."]
    before = esnli.digest(settings)
    (tmp_path / "README.md").write_text("changed")
    assert esnli.digest(settings) == before
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write(json.dumps({**row, "premise": "R ."}) + "\n")
    assert [(r.cluster_key, r.row) for r in esnli.rows(settings)] == [("Q .", 2), ("P .", 1), ("R .", 2)]
    assert esnli.digest(settings) != before
    assert len(read(tmp_path / "*.jsonl", fields={"text": "premise"})) == 2


def test_a_bad_row_of_a_folder_is_named_with_its_file(tmp_path):
    write(tmp_path / "1.jsonl", ROWS)
    (tmp_path / "2.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"a": "x", ')
    assert f"{tmp_path}/2.jsonl, row 2: is not JSON" in problem(tmp_path)


def test_a_folder_without_tables_says_what_it_looked_for(tmp_path):
    assert problem(tmp_path) == f"{tmp_path}: this folder holds no file *.jsonl"
    with pytest.raises(SourceError, match=r"holds no file \*\.jsonl, \*\.json, \*\.csv, \*\.parquet"):
        esnli.digest(esnli.Settings(path=str(tmp_path)))
