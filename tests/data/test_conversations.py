"""Rows of chats: what is held comes out unchanged, and what cannot be held is named."""

import csv as csv_writer
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hasse.data.conversations import parse_conversation
from hasse.data.errors import SourceError
from hasse.data.field_mapping import Fields
from hasse.data.records import Message, Prompt
from hasse.data.rendering import prompt_as_text
from hasse.data.sources import csv, jsonl, parquet

USER = {"role": "user", "content": "2 + 2?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "4"}


def rows_of(tmp_path, *rows, **options):
    """The prompts of a JSONL file whose column `m` is a conversation."""
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {"messages": "m", **options.pop("fields", {})}
    return list(jsonl.rows(jsonl.Settings(path=str(path), fields=fields, **options)))  # type: ignore[arg-type]


def turns(found):
    return [(m.role, m.content) for m in found.messages]


def plain(*given):
    return [(turn["role"], turn["content"]) for turn in given]


HELD = {
    "one question": [USER],
    "system": [SYSTEM, USER],
    "several system turns": [SYSTEM, SYSTEM, USER, SYSTEM, USER],
    "a turn of the same role again": [USER, USER],
    "many turns": [USER, ANSWER, USER],
    "an empty system turn": [{"role": "system", "content": ""}, USER],
    "an empty answer in the middle": [USER, {"role": "assistant", "content": ""}, USER],
    "a last system turn": [USER, SYSTEM],
    "spaces": [{"role": "user", "content": "  a\n b \r\n\t"}],
}


@pytest.mark.parametrize("given_turns", HELD.values(), ids=HELD)
def test_what_can_be_held_is_held_unchanged(tmp_path, given_turns):
    (found,) = rows_of(tmp_path, {"m": given_turns})
    assert turns(found) == plain(*given_turns)
    assert (found.text, found.reference) == (given_turns[-1]["content"], None)


@pytest.mark.parametrize("given_turns", [[USER, ANSWER], [SYSTEM, USER, ANSWER], [USER, ANSWER, USER, ANSWER]])
def test_a_last_turn_by_the_assistant_is_the_reference_and_no_part_of_the_prompt(tmp_path, given_turns):
    (found,) = rows_of(tmp_path, {"m": given_turns})
    assert turns(found) == plain(*given_turns[:-1])
    assert (found.text, found.reference) == ("2 + 2?", "4")


def test_two_references_that_differ_are_told_and_equal_ones_are_one(tmp_path):
    fields = {"reference": "r"}
    (found,) = rows_of(tmp_path, {"m": [USER, ANSWER], "r": "4"}, fields=fields)
    assert found.reference == "4"
    (found,) = rows_of(tmp_path, {"m": [USER, ANSWER], "r": None}, fields=fields)
    assert found.reference == "4"
    (found,) = rows_of(tmp_path, {"m": [USER], "r": "four"}, fields=fields)
    assert found.reference == "four"
    with pytest.raises(SourceError, match=r"t\.jsonl, row 1, field 'r': is another answer than the last turn of 'm'"):
        rows_of(tmp_path, {"m": [USER, ANSWER], "r": "four"}, fields=fields)


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_text_parts_are_joined(tmp_path, kind):
    parts = [{"type": kind, "text": "2 + 2?"}, {"type": kind, "text": "Only the number."}]
    (found,) = rows_of(tmp_path, {"m": [{"role": "user", "content": parts}]})
    assert turns(found) == [("user", "2 + 2?\nOnly the number.")]
    assert found.text == "2 + 2?\nOnly the number."


def test_the_turns_of_sharegpt_are_read(tmp_path):
    given_turns = [
        {"from": "system", "value": "Be brief.", "weight": None},
        {"from": "human", "value": "2 + 2?"},
        {"from": "gpt", "value": "4"},
    ]
    (found,) = rows_of(tmp_path, {"m": given_turns})
    assert turns(found) == [("system", "Be brief."), ("user", "2 + 2?")]
    assert found.reference == "4"


def test_keys_without_a_value_say_nothing(tmp_path):
    turn = {**USER, "tool_calls": None, "name": "", "annotations": [], "refusal": None, "weight": 1}
    (found,) = rows_of(tmp_path, {"m": [turn]})
    assert turns(found) == plain(USER)


def part(**of):
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, of]}]


REFUSED = {
    "null content": ([{"role": "user", "content": None}], "turn 1 has no content"),
    "no content": ([{"role": "user"}], "turn 1 has no content"),
    "no parts": ([{"role": "user", "content": []}], "turn 1 has no content"),
    "tool calls": ([USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, USER], "'tool_calls'"),
    "tool calls beside a text": ([USER, {**ANSWER, "tool_calls": [{"id": "1"}]}, USER], "'tool_calls'"),
    "function call": ([USER, {**ANSWER, "function_call": {"name": "f"}}], "turn 2 has 'function_call'"),
    "tool": ([USER, ANSWER, {"role": "tool", "content": "4"}], "turn 3 has an unknown role 'tool'"),
    "function": ([USER, {"role": "function", "content": "4"}], "unknown role 'function'"),
    "developer": ([{"role": "developer", "content": "x"}, USER], "unknown role 'developer'.*name it 'system'"),
    "unknown role": ([{"role": "narrator", "content": "x"}], "unknown role 'narrator'.*system, user, assistant"),
    "role in capitals": ([{"role": "User", "content": "x"}], "did you mean 'user'"),
    "no role": ([{"content": "x"}], "turn 1 has no role"),
    "null role": ([{"role": None, "content": "x"}], "turn 1 has no role"),
    "name": ([{**USER, "name": "Ann"}], "turn 1 has 'name': 'Ann'"),
    "thinking": ([USER, {**ANSWER, "thinking": "hm"}], "turn 2 has 'thinking': 'hm'"),
    "weight 0": ([USER, {**ANSWER, "weight": 0}], "turn 2 has 'weight': 0"),
    "image": (part(type="image_url", image_url={"url": "http://x/y.png"}), "part 2 of turn 1 is .*only text"),
    "refusal": (part(type="refusal", refusal="No."), "part 2 of turn 1 is .*only text"),
    "unknown part": (part(type="hologram"), "part 2 of turn 1 is .*only text"),
    "part that is a text": ([{"role": "user", "content": ["x"]}], "part 1 of turn 1 is 'x'"),
    "part without text": (part(type="text", text=None), "part 2 of turn 1"),
    "number": ([{"role": "user", "content": 7}], "content of turn 1 must be a text, found 7"),
    "object": ([{"role": "user", "content": {"a": 1}}], "content of turn 1 must be a text"),
    "turn that is null": ([USER, None], "turn 2 is None"),
    "turn that is a text": (["x"], "must be a list of {role, content}; turn 1 is 'x'"),
    "no list": ({"role": "user", "content": "x"}, "must be a list of {role, content}, found"),
    "number for a list": (7, "must be a list of {role, content}, found 7"),
    "text for a list": ("hello", "found a text that is not JSON"),
    "JSON that is no list": ('{"a": 1}', "must be a list of {role, content}, found"),
    "only an answer": ([ANSWER], "has no prompt: there is no turn of the user"),
    "only system": ([SYSTEM], "has no prompt: there is no turn of the user"),
    "system and answer": ([SYSTEM, ANSWER], "has no prompt: there is no turn of the user"),
    "two answers": ([USER, ANSWER, ANSWER], "ends with two turns of the assistant"),
    "empty answer": ([USER, {"role": "assistant", "content": " "}], "an empty answer of the assistant"),
    "empty question": ([{"role": "user", "content": "  "}], "has no prompt: the last turn that is asked is empty"),
    "nothing": ([], "has no prompt"),
    "null": (None, "has no prompt"),
    "half of a character": ([{"role": "user", "content": "a\ud800"}], r"half of a character \(U\+D800 at character 2"),
}


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_is_named_by_file_row_and_field(tmp_path, value, message):
    with pytest.raises(SourceError, match=rf"(?s)t\.jsonl, row 2, field 'm': .*{message}"):
        rows_of(tmp_path, {"m": [USER]}, {"m": value})


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_can_be_kept_aside(tmp_path, value, message):
    fine, aside = rows_of(tmp_path, {"m": [USER]}, {"m": value}, on_bad_row="keep")
    assert (fine.error, aside.text, aside.messages, aside.reference, aside.row) == (None, "", None, None, 2)
    assert aside.error is not None
    assert aside.error.startswith("field 'm': ")


def test_keys_that_may_be_lost_are_named_in_the_recipe(tmp_path):
    turn = {**USER, "timestamp": "2026", "name": "Ann"}
    (found,) = rows_of(tmp_path, {"m": [turn]}, fields={"ignored_keys": ["timestamp", "name"]})
    assert turns(found) == plain(USER)
    with pytest.raises(SourceError, match="'name': 'Ann'"):
        rows_of(tmp_path, {"m": [turn]}, fields={"ignored_keys": ["timestamp"]})


def test_a_cell_of_csv_or_parquet_may_hold_the_conversation_as_json(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv_writer.writer(file).writerows([["m"], [json.dumps([SYSTEM, USER, ANSWER])]])
    pq.write_table(pa.table({"m": [json.dumps([SYSTEM, USER, ANSWER])]}), tmp_path / "t.parquet")
    for module, name in ((csv, "t.csv"), (parquet, "t.parquet")):
        (found,) = module.rows(module.Settings(path=str(tmp_path / name), fields={"messages": "m"}))
        assert (turns(found), found.reference) == (plain(SYSTEM, USER), "4")


def test_structs_of_parquet_with_nulls_are_read(tmp_path):
    rows = [{"m": [{**USER, "tool_calls": None}, {**ANSWER, "tool_calls": None}]}]
    calls = [{**ANSWER, "tool_calls": [{"id": "1"}]}]
    pq.write_table(pa.Table.from_pylist([*rows, {"m": [USER, *calls]}]), tmp_path / "t.parquet")
    read = parquet.rows(parquet.Settings(path=str(tmp_path / "t.parquet"), fields={"messages": "m"}))  # type: ignore[arg-type]
    assert turns(next(read)) == plain(USER)
    with pytest.raises(SourceError, match=r"row 2, field 'm': turn 2 has 'tool_calls'"):
        next(read)


def test_an_empty_conversation_leaves_the_text(tmp_path):
    rows = {"m": None, "q": "2 + 2?"}, {"m": [USER], "q": None}
    first, second = rows_of(tmp_path, *rows, fields={"text": "q"})
    assert (first.text, first.messages) == ("2 + 2?", None)
    assert turns(second) == plain(USER)


def test_documents_beside_a_conversation_are_refused():
    with pytest.raises(ValueError, match="documents make variants of a text"):
        Fields(messages="m", documents="d")


def test_a_prompt_is_shown_whole():
    def prompt(text, *messages):
        return Prompt(prompt_id="p", text=text, messages=messages or None, source="s", cluster_id="p", split="train")

    assert prompt_as_text(prompt("2 + 2?")) == prompt_as_text(prompt("2 + 2?", Message(**USER))) == "2 + 2?"
    asked = prompt(
        "And 3 + 3?", Message(**SYSTEM), Message(**USER), Message(**ANSWER), Message(role="user", content="?")
    )
    assert prompt_as_text(asked) == "system: Be brief.\n\nuser: 2 + 2?\n\nassistant: 4\n\nuser: ?"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROLE = st.sampled_from(["system", "user", "assistant", "tool", "developer", "human"]) | JSON
CONTENT = st.text(st.characters()) | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": JSON})) | JSON
TURN = st.fixed_dictionaries({"role": ROLE, "content": CONTENT}, optional={"tool_calls": JSON, "x": JSON}) | JSON


def read(value):
    """The conversation, or why there is none."""
    try:
        return parse_conversation(value)
    except ValueError as error:
        return str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TURN, max_size=4) | JSON)
def test_of_any_value_every_text_is_held_or_the_value_is_refused(value):
    found = read(value)
    if isinstance(found, str):
        return
    if found is None:
        assert not value
        return
    asked = [*found.asked, *([Message(role="assistant", content=found.answer)] if found.answer is not None else [])]
    for message, turn in zip(asked, value, strict=True):
        content = turn["content"]
        assert message.content == (content if isinstance(content, str) else "\n".join(p["text"] for p in content))
        assert message.role == turn["role"]
        assert not turn.get("tool_calls")
        assert not turn.get("x")


FIELDS = {"reference": "r", "drafts": "d", "answers": "a", "cluster_key": "k", "prompt_id": "i", "context": "c"}
MAPPINGS = [{}, FIELDS, {"text": "{text}: {r}"}, {"messages": "m"}, {"messages": "m", **FIELDS}]
COLUMNS = ["m", "text", *FIELDS.values()]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries(dict.fromkeys(COLUMNS, JSON)), st.lists(TURN, max_size=3), st.sampled_from(MAPPINGS))
def test_a_row_of_any_values_gives_its_texts_or_a_refusal_that_names_its_place(tmp_path_factory, row, messages, fields):
    path = tmp_path_factory.mktemp("rows") / "t.jsonl"
    row = {**row, "m": messages}
    path.write_text(json.dumps(row) + "\n")
    settings = jsonl.Settings(path=str(path), fields=fields, on_bad_row="keep")
    found, refused = _only(settings)
    if found is None:
        assert (refused.file, refused.row) == (str(path), 1)
        str(refused).encode()
    elif found.error is None and "reference" in fields:
        for field in ("reference", "cluster_key", "context", "prompt_id"):
            value = row[fields[field]]
            given_value = "" if value is None or isinstance(value, bool) else str(value)
            assert (getattr(found, field) or "") == given_value or (field == "reference" and not given_value)


def _only(settings):
    """(the only prompt, None), or (None, the error)."""
    try:
        (found,) = jsonl.rows(settings)
    except SourceError as error:
        return None, error
    return found, None
