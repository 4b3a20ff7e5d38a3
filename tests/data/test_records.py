"""Schemas, Parquet, and the data dictionary that describes them."""

import dataclasses
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hasse.data import records, schema
from hasse.data.errors import CorruptFile, SchemaError
from hasse.data.parquet import read_records, write_records
from hasse.data.schema import schema_of

TABLES = [c for c in vars(records).values() if dataclasses.is_dataclass(c) and hasattr(c, "schema_version")]

PROMPT = records.Prompt(
    prompt_id="p",
    text="née ✓",
    messages=(records.Message(role="user", content="x"),),
    answers=("a", "b"),
    source="s",
    cluster_id="p",
    split="train",
)
ORDER = records.PartialOrder(
    prompt_id="p",
    strategy="lp",
    candidate_ids=("a", "b"),
    levels=(2.0, None),
    pairs=(records.OrderedPair(above="a", below="b", margin=0.5),),
)


@pytest.mark.parametrize("row", [PROMPT, ORDER], ids=["prompt", "order"])
def test_a_row_comes_back_as_it_was(tmp_path, row):
    plain = (
        dataclasses.replace(PROMPT, messages=None, answers=())
        if row is PROMPT
        else dataclasses.replace(ORDER, pairs=())
    )
    assert write_records(tmp_path / "t.parquet", [row, plain], type(row)) == 2
    assert list(read_records(tmp_path / "t.parquet", type(row))) == [row, plain]


def test_only_some_columns_give_defaults_for_the_others(tmp_path):
    row = records.Candidate(prompt_id="p", candidate_id="c", text="t", token_ids=(1, 2), source="s")
    write_records(tmp_path / "t.parquet", [row], records.Candidate)
    columns = ["prompt_id", "candidate_id", "text", "source"]
    (found,) = read_records(tmp_path / "t.parquet", records.Candidate, columns=columns)
    assert found == dataclasses.replace(row, token_ids=())


def test_groups_of_rows_are_streamed(tmp_path):
    rows = [records.CurvePoint(step=i, metric="loss", value=i / 2) for i in range(25)]
    write_records(tmp_path / "t.parquet", iter(rows), records.CurvePoint, rows_per_group=10)
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    assert list(read_records(tmp_path / "t.parquet", records.CurvePoint)) == rows


@pytest.mark.parametrize("record", TABLES, ids=lambda r: r.__name__)
def test_the_schema_names_its_record_and_version(record):
    metadata = schema_of(record).metadata
    assert metadata == {b"record": record.__name__.encode(), b"schema_version": str(record.schema_version).encode()}
    hints = {f.name: str(f.type).endswith("None") for f in dataclasses.fields(record)}
    assert {f.name: f.nullable for f in schema_of(record)} == hints


def test_another_schema_is_refused_with_both_shown(tmp_path):
    pq.write_table(pa.table({"prompt_id": [1]}), tmp_path / "t.parquet")
    with pytest.raises(SchemaError) as caught:
        list(read_records(tmp_path / "t.parquet", records.CurvePoint))
    assert "prompt_id: int64" in str(caught.value)
    assert "value: double not null" in str(caught.value)


def test_an_older_version_is_migrated_by_its_function(tmp_path, monkeypatch):
    old = pa.table({"step": [1], "value": [0.5]}, metadata={"record": "CurvePoint", "schema_version": "0"})
    pq.write_table(
        old.cast(
            pa.schema([("step", pa.int64(), False), ("value", pa.float64(), False)], metadata=old.schema.metadata)
        ),
        tmp_path / "t.parquet",
    )

    def name_the_metric(table):
        metric = pa.array(["loss"] * len(table), pa.string())
        return table.append_column(pa.field("metric", pa.string(), nullable=False), metric).select(
            ["step", "metric", "value"]
        )

    with pytest.raises(SchemaError):
        list(read_records(tmp_path / "t.parquet", records.CurvePoint))
    monkeypatch.setitem(schema.MIGRATIONS, ("CurvePoint", 0), name_the_metric)
    assert list(read_records(tmp_path / "t.parquet", records.CurvePoint)) == [
        records.CurvePoint(step=1, metric="loss", value=0.5)
    ]


def test_candidates_of_version_1_did_not_think(tmp_path):
    plain = records.Candidate(prompt_id="p", candidate_id="a", text="41", token_ids=(1, 2), source="s")
    now = dataclasses.replace(plain, candidate_id="b", reasoning="maybe 42")
    write_records(tmp_path / "new.parquet", [plain, now], records.Candidate)
    assert list(read_records(tmp_path / "new.parquet", records.Candidate)) == [plain, now]
    table = pq.read_table(tmp_path / "new.parquet").slice(0, 1).drop_columns(["reasoning"])
    metadata = {"record": "Candidate", "schema_version": "1"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "old.parquet")
    assert list(read_records(tmp_path / "old.parquet", records.Candidate)) == [plain]


def test_judgements_of_version_1_are_read(tmp_path):
    plain = records.Judgement(prompt_id="p", candidate_id="a", teacher="rule", total=1.0)
    now = records.Judgement(
        prompt_id="p",
        candidate_id="b",
        teacher="openai",
        presentations=(records.Presentation(slot=2, total=None, num_asks=2), records.Presentation(slot=1, total=6.5)),
        verdicts=(records.PairVerdict(other="a", verdict="tie"),),
    )
    write_records(tmp_path / "new.parquet", [plain, now], records.Judgement)
    assert list(read_records(tmp_path / "new.parquet", records.Judgement)) == [plain, now]
    later = ["presentations", "verdicts", "judges", "reasoning"]
    table = pq.read_table(tmp_path / "new.parquet").slice(0, 1).drop_columns(later)
    metadata = {"record": "Judgement", "schema_version": "1"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "old.parquet")
    assert list(read_records(tmp_path / "old.parquet", records.Judgement)) == [plain]


def test_judgements_of_version_2_are_those_of_one_judge(tmp_path):
    alone = records.Judgement(
        prompt_id="p", candidate_id="a", teacher="openai", verdicts=(records.PairVerdict(other="b", verdict="tie"),)
    )
    share = records.JudgeTotal(judge="x", teacher="openai", total=None, status="refused")
    of_several = records.Judgement(prompt_id="p", candidate_id="b", teacher="several", judges=(share,))
    write_records(tmp_path / "new.parquet", [alone, of_several], records.Judgement)
    assert list(read_records(tmp_path / "new.parquet", records.Judgement)) == [alone, of_several]
    table = pq.read_table(tmp_path / "new.parquet").slice(0, 1).drop_columns(["judges", "reasoning"])
    metadata = {"record": "Judgement", "schema_version": "2"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "old.parquet")
    assert list(read_records(tmp_path / "old.parquet", records.Judgement)) == [alone]


def test_judgements_of_version_3_are_without_the_judges_thinking(tmp_path):
    plain = records.Judgement(prompt_id="p", candidate_id="a", teacher="openai", total=6.5, rationale="So.")
    thought = dataclasses.replace(plain, candidate_id="b", reasoning="maybe 7")
    write_records(tmp_path / "new.parquet", [plain, thought], records.Judgement)
    assert list(read_records(tmp_path / "new.parquet", records.Judgement)) == [plain, thought]
    table = pq.read_table(tmp_path / "new.parquet").drop_columns(["reasoning"])
    metadata = {"record": "Judgement", "schema_version": "3"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "old.parquet")
    assert list(read_records(tmp_path / "old.parquet", records.Judgement)) == [
        plain,
        dataclasses.replace(thought, reasoning=None),
    ]


def test_a_truncated_file_is_named(tmp_path):
    write_records(tmp_path / "t.parquet", [ORDER], records.PartialOrder)
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-30])
    with pytest.raises(CorruptFile, match=r"t\.parquet cannot be read as Parquet"):
        list(read_records(tmp_path / "t.parquet", records.PartialOrder))


def test_the_data_dictionary_has_every_field_with_its_type():
    text = (Path(records.__file__).parent / "README.md").read_text()
    for record in TABLES:
        section = re.search(rf"^## {record.__name__}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        assert section, f"data/README.md has no section {record.__name__}"
        documented = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section[1], re.M))
        expected = {f.name: f"{f.type}{'' if f.nullable else ' not null'}" for f in schema_of(record)}
        expected = {name: kind.replace("element: ", "") for name, kind in expected.items()}
        assert documented == expected, record.__name__


def test_prompts_of_version_2_were_asked_as_they_stand(tmp_path):
    plain = records.Prompt(prompt_id="p", text="t", source="s", cluster_id="p", split="train")
    turns = (records.Message(role="user", content="u"), records.Message(role="assistant", content="a"))
    now = dataclasses.replace(plain, prompt_id="q", instruction="i", demonstrations=turns)
    write_records(tmp_path / "new.parquet", [plain, now], records.Prompt)
    assert list(read_records(tmp_path / "new.parquet", records.Prompt)) == [plain, now]
    table = pq.read_table(tmp_path / "new.parquet").slice(0, 1).drop_columns(["instruction", "demonstrations"])
    pq.write_table(table.replace_schema_metadata({"record": "Prompt", "schema_version": "2"}), tmp_path / "old.parquet")
    assert list(read_records(tmp_path / "old.parquet", records.Prompt)) == [plain]
