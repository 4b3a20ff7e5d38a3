"""Files as they come: encodings, compression, quotes, columns; what cannot be read names file, row and field."""

import bz2
import csv as csv_writer
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasse.data.errors import SourceError
from hasse.data.sources import csv, datasets, jsonl, parquet, squad
from hasse.data.tables import find_files, read_rows

BOM = b"\xef\xbb\xbf"
JSONL = '{"text": "grüß"}\n\n{"text": "zwei"}\n'
CSV = "text\ngrüß\n\nzwei\n"


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


COMPRESSORS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def texts(module, path, **fields):
    return [raw.text for raw in module.rows(module.Settings(path=str(path), fields=fields))]


def problem(module, path, **fields):
    with pytest.raises(SourceError) as caught:
        texts(module, path, **fields)
    return str(caught.value)


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(("module", "suffix", "data"), [(jsonl, ".jsonl", JSONL), (csv, ".csv", CSV)])
@pytest.mark.parametrize("compression", COMPRESSORS)
def test_compressed_files_are_read_whatever_they_are_called(tmp_path, module, suffix, data, compression):
    packed = COMPRESSORS[compression](BOM + data.encode())
    assert texts(module, written(tmp_path / f"a{suffix}{compression}", packed)) == ["grüß", "zwei"]
    assert texts(module, tmp_path) == ["grüß", "zwei"]
    assert [row["text"] for _, row in read_rows(tmp_path / f"a{suffix}{compression}")] == ["grüß", "zwei"]
    assert texts(module, written(tmp_path / "other.txt", packed)) == ["grüß", "zwei"]
    assert problem(module, written(tmp_path / "cut", packed[:-8])).startswith(f"{tmp_path}/cut: cannot be read as")


@pytest.mark.parametrize(("module", "data"), [(jsonl, JSONL), (csv, CSV)])
def test_byte_order_marks_and_line_ends_change_nothing(tmp_path, module, data):
    for i, changed in enumerate((data, data.replace("\n", "\r\n"), data.replace("\n", "\r"), data.rstrip("\n"))):
        for start in (b"", BOM):
            assert texts(module, written(tmp_path / f"t{i}", start + changed.encode())) == ["grüß", "zwei"], changed


@pytest.mark.parametrize(("module", "data"), [(jsonl, JSONL), (csv, CSV)])
def test_other_encodings_are_named(tmp_path, module, data):
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        assert "save the file as UTF-8" in problem(module, written(tmp_path / "t", data.encode(encoding)))
    found = problem(module, written(tmp_path / "t", data.encode("latin-1")))
    assert found.startswith(f"{tmp_path}/t, row {1 if module is jsonl else 2}: is not UTF-8 at byte ")


def test_a_quote_that_is_never_closed_names_the_line_where_the_row_begins(tmp_path):
    rows = [f'{i},"say, {i}"' for i in range(2, 8)] + ['8,"say, 8', *(f"{i},say {i}" for i in range(9, 200))]
    found = problem(csv, written(tmp_path / "t.csv", "n,text\n" + "\n".join(rows) + "\n"))
    assert found.startswith(f"{tmp_path}/t.csv, row 8: ")
    assert "a quote is opened and never closed" in found


def test_a_quote_that_closes_at_a_later_quote_names_the_line_where_the_row_begins(tmp_path):
    rows = [f'{i},"say, {i}"' for i in range(2, 200)]
    rows[6] = '8,"say, 8'
    found = problem(csv, written(tmp_path / "t.csv", "n,text\n" + "\n".join(rows) + "\n"))
    assert found.startswith(f"{tmp_path}/t.csv, row 8: ")


@pytest.mark.parametrize(("row", "said"), [("a", "fewer"), ("a,b,c", "more"), ('"a\nb"', "fewer")])
def test_a_row_with_another_number_of_cells_is_named(tmp_path, row, said):
    found = problem(csv, written(tmp_path / "t.csv", f'text,more\n"x\ny",z\n{row}\n'))
    assert found.startswith(f"{tmp_path}/t.csv, row 4: has {said} cells than the header's 2")


def test_cells_come_as_they_are(tmp_path):
    long = "x" * 200_000
    body = f'text,""\n"a ""b"" c\r\nd",1\n {long} ,2\n  ,3\n'
    settings = csv.Settings(path=str(written(tmp_path / "t.csv", body)), on_bad_row="keep")
    assert [raw.text for raw in csv.rows(settings)] == ['a "b" c\r\nd', f" {long} ", ""]
    assert texts(csv, written(tmp_path / "t.csv", "text\nnul\0byte\n")) == ["nul\0byte"]


def test_columns_of_one_name_are_refused_by_name(tmp_path):
    found = problem(csv, written(tmp_path / "t.csv", "text,label,text\na,b,c\n"))
    assert found.startswith(f"{tmp_path}/t.csv, row 1, field 'text': stands twice in the header")
    found = problem(jsonl, written(tmp_path / "t.jsonl", '{"text": "x"}\n{"text": "a", "label": 1, "text": "b"}\n'))
    assert found.startswith(f"{tmp_path}/t.jsonl, row 2, field 'text': is given twice in one object")
    found = problem(jsonl, written(tmp_path / "t.jsonl", '{"text": "a", "m": [{"role": 1, "role": 2}]}\n'))
    assert "field 'role': is given twice" in found
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "p")
    assert problem(parquet, tmp_path / "p").startswith(f"{tmp_path}/p, field 'text': is the name of two columns")


@pytest.mark.parametrize("name", ["a.b", "a[0]", "a b", "0", "a!r", "{text}", "a{b"])
def test_columns_may_have_any_name(tmp_path, name):
    pq.write_table(pa.table({name: ["x {y}"], "text": ["z"]}), tmp_path / "t.parquet")
    written(tmp_path / "t.jsonl", json.dumps({name: "x {y}", "text": "z"}) + "\n")
    for module, path in ((parquet, tmp_path / "t.parquet"), (jsonl, tmp_path / "t.jsonl")):
        assert texts(module, path, text=name) == ["x {y}"]
        if "{" not in name and "!" not in name:
            assert texts(module, path, text="{{{" + name + "}}} {text}") == ["{x {y}} z"]


@pytest.mark.parametrize("template", ["{text", "text}", "{text!r}", "{}", "{text:>9999999999}"])
def test_a_template_that_cannot_be_filled_is_named(tmp_path, template):
    path = written(tmp_path / "t.jsonl", '{"text": "a", "label": "b"}\n')
    assert problem(jsonl, path, text=template).startswith(f"{path}, row 1, field ")
    with pytest.raises(ValueError, match="template"):
        squad.Settings(path=str(path), template="{question}" + template.replace("text", "context") + "{x}")


def test_only_columns_of_the_mapping_are_converted(tmp_path):
    import datasets as hub

    late = pa.array([1, 300_000_000_000_000_000], pa.timestamp("us"))
    table = pa.table({"text": ["a", "b"], "late": late})
    pq.write_table(table, tmp_path / "t.parquet")
    hub.Dataset(table).save_to_disk(tmp_path / "saved")
    for module, path in ((parquet, tmp_path / "t.parquet"), (datasets, tmp_path / "saved")):
        assert texts(module, path) == ["a", "b"]
        module.digest(module.Settings(path=str(path)))
        assert "row 2, field 'late': cannot be read" in problem(module, path, text="text", group="late", label=None)
        assert "did you mean 'late'" in problem(module, path, text="lat")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1.5", "true", "[1]", "[" * 200_000, "1" * 5000, '"\\ud800"'])
def test_values_that_are_no_text_are_named(tmp_path, value):
    path = written(tmp_path / "t.jsonl", f'{{"text": "a"}}\n{{"text": {value}}}\n')
    found = problem(jsonl, path)
    assert found.startswith(f"{path}, row 2")
    assert found.encode()
    assert len(found) < 500


def test_a_json_array_is_told_from_json_lines(tmp_path):
    path = written(tmp_path / "t.json", '[{"text": "a"},\n{"text": "b"}]\n')
    assert "row 1" in problem(jsonl, path)
    assert "The file is one JSON array; write one object a line" in problem(jsonl, path)


def test_paths_that_give_no_file_are_named(tmp_path):
    written(tmp_path / "data[1].jsonl", '{"text": "a"}\n')
    assert texts(jsonl, tmp_path / "data[1].jsonl") == ["a"]
    (tmp_path / "folder.jsonl").mkdir()
    assert "this folder holds no file" in problem(jsonl, tmp_path / "folder.jsonl")
    for path in ("no/*.jsonl", "**x", "~nobody-of-that-name/x", "a\0b", "x" * 5000, str(tmp_path / "t" / "*")):
        with pytest.raises(SourceError):
            find_files(path)
    with pytest.raises(SourceError, match="the list of paths is empty"):
        find_files([])
    with pytest.raises(SourceError, match=r"has the suffix '\.gz'"):
        list(read_rows(written(tmp_path / "t.parquet.gz", b"")))


CELL = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5))
def test_any_cells_come_back_as_they_were_written(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("cells")
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv_writer.writer(file).writerows([("text", "why"), *cells])
    pq.write_table(pa.table({"text": [a for a, _ in cells], "why": [b for _, b in cells]}), folder / "t.parquet")
    lines = (json.dumps({"text": a, "why": b}, ensure_ascii=False) + "\n" for a, b in cells)
    (folder / "t.jsonl").write_text("".join(lines), encoding="utf-8", newline="")
    for module, name in ((csv, "t.csv"), (parquet, "t.parquet"), (jsonl, "t.jsonl")):
        how = module.Settings(path=str(folder / name), fields={"reference": "why"}, on_bad_row="keep")
        found = [(raw.text, raw.reference, raw.error is None) for raw in module.rows(how)]
        asked = [(a, b or None, True) if a.strip() else ("", None, False) for a, b in cells]
        assert found == asked, name


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='",\n\r\0ab{}[]:', max_size=60).map(str.encode))
def test_any_bytes_are_rows_or_a_refusal_that_names_the_file(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("bytes") / "t", data)
    for module in (csv, jsonl, parquet, squad):
        fields = {} if module is squad else {"fields": {"text": "a"}}
        try:
            list(module.rows(module.Settings(path=str(path), **fields)))  # type: ignore[arg-type]
        except SourceError as error:
            refused = str(error)
            assert refused.startswith(str(path))


def test_empty_files_hold_no_rows(tmp_path):
    for name, module in (("t.jsonl", jsonl), ("t.csv", csv)):
        assert "holds no rows" in problem(module, written(tmp_path / name, ""))
    assert "holds no rows" in problem(csv, written(tmp_path / "t.csv", "text\n"))
    assert "cannot be read as parquet" in problem(parquet, written(tmp_path / "t.parquet", ""))
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "t.parquet")
    assert "holds no rows" in problem(parquet, tmp_path / "t.parquet")


def test_files_of_other_columns_are_named(tmp_path):
    written(tmp_path / "1.jsonl", '{"text": "a"}\n')
    written(tmp_path / "2.jsonl", '{"question": "b"}\n')
    found = problem(jsonl, tmp_path)
    assert found.startswith(f"{tmp_path}/2.jsonl, row 1, field 'text': unknown column 'text'")


@pytest.mark.parametrize("value", [[1], {"paragraphs": 1}, {"paragraphs": [{"qas": [1]}]}, {"paragraphs": [1]}, 7])
def test_other_shapes_of_squad_are_named(tmp_path, value):
    path = written(tmp_path / "s.json", json.dumps({"data": [value]}))
    with pytest.raises(SourceError, match=r"s\.json.*shape of SQuAD"):
        list(squad.rows(squad.Settings(path=str(path))))


@pytest.mark.parametrize("field", ["question", "context", "id", "text"])
@pytest.mark.parametrize("value", [{"a": 1}, [1], 1.5, True, "\ud800"])
def test_values_of_squad_that_are_no_text_are_named(tmp_path, field, value):
    qa = {"id": "1", "question": "q?", "answers": [{"text": "a"}]}
    paragraph = {"context": "c", "qas": [qa]}
    {"question": qa, "id": qa, "context": paragraph, "text": qa["answers"][0]}[field][field] = value  # type: ignore[index]
    path = written(tmp_path / "s.json", json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    with pytest.raises(SourceError, match=rf"s\.json, row 1, field '{field}': "):
        list(squad.rows(squad.Settings(path=str(path))))
