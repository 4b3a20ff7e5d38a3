"""Pairs of dialogues: what they share is the prompt, and their last answers are preferred and not."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hasse.data.errors import SourceError
from hasse.data.records import Message
from hasse.data.sources import hh
from hasse.stages.prompts.stage import PromptsSection, build_prompts

SHARED = "\n\nHuman: Hi, can you cook?\n\nAssistant: Yes.\n\nIn a pan: anything.\n\nHuman: Then cook rice."
PAIR = {"chosen": f"{SHARED}\n\nAssistant: With pleasure.", "rejected": f"{SHARED}\n\nAssistant: No.\n\nNever."}
SHORT = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away."}


def rows(path, *pairs, **settings):
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return list(hh.rows(hh.Settings(path=str(path), **settings)))


def test_the_shared_dialogue_is_the_prompt_and_the_last_answers_are_a_pair(tmp_path):
    several, single = rows(tmp_path / "a.jsonl", PAIR, SHORT)
    assert several.messages == (
        Message(role="user", content="Hi, can you cook?"),
        Message(role="assistant", content="Yes.\n\nIn a pan: anything."),
        Message(role="user", content="Then cook rice."),
    )
    assert (several.text, several.reference) == ("Then cook rice.", "With pleasure.")
    assert several.drafts == ("No.\n\nNever.",)
    assert (single.text, single.messages, single.reference, single.drafts) == ("Hi", None, "Hello!", ("Go away.",))


def test_packed_lines_and_parquet_say_the_same(tmp_path):
    plain = rows(tmp_path / "a.jsonl", PAIR, SHORT)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write((tmp_path / "a.jsonl").read_text())
    pq.write_table(pa.Table.from_pylist([PAIR, SHORT]), tmp_path / "c.parquet")
    for name in ("b.jsonl.gz", "c.parquet"):
        found = list(hh.rows(hh.Settings(path=str(tmp_path / name))))
        assert [(r.text, r.messages, r.reference, r.drafts, r.row) for r in found] == [
            (r.text, r.messages, r.reference, r.drafts, r.row) for r in plain
        ]
    assert len(list(hh.rows(hh.Settings(path=str(tmp_path / "*.*"), limit=5)))) == 5


HUMAN, BOTH = "\n\nHuman: Hi", "\n\nHuman: Hi\n\nAssistant: Hello!"


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ({"chosen": BOTH}, "field 'rejected': is missing or empty"),
        ({**SHORT, "chosen": 5}, "field 'chosen': must be text, found 5"),
        ({**SHORT, "chosen": "Hello!"}, "field 'chosen': must begin with 'Human:', found 'Hello!'"),
        ({**SHORT, "rejected": HUMAN}, "field 'rejected': must end with an answer of the Assistant"),
        ({**SHORT, "rejected": f"{HUMAN}\n\nAssistant: "}, "field 'rejected': turn 2, by Assistant, is empty"),
        ({**SHORT, "chosen": f"{HUMAN}{BOTH}"}, "field 'chosen': turns 1 and 2 are both by Human"),
        ({**PAIR, "rejected": PAIR["rejected"].replace("Yes.", "No.")}, "field 'rejected': differs in turn 2"),
        ({"chosen": BOTH, "rejected": BOTH}, "field 'rejected': ends with the same answer as chosen"),
        ({**SHORT, "rejected": PAIR["rejected"]}, "field 'rejected': differs in turn 1; only the last answers"),
        ({**PAIR, "chosen": PAIR["chosen"] + HUMAN + "\n\nAssistant: So?"}, "field 'rejected': has another number"),
    ],
)
def test_a_malformed_row_is_named_with_file_row_and_field(tmp_path, pair, message):
    with pytest.raises(SourceError, match=rf"a\.jsonl, row 2, ({message})"):
        rows(tmp_path / "a.jsonl", SHORT, pair)
    _, kept = rows(tmp_path / "a.jsonl", SHORT, pair, on_bad_row="keep")
    (bad,) = build_prompts([kept], PromptsSection(), source="hh", labels=())
    assert bad.status == "failed"


def test_dialogues_that_begin_alike_share_a_split(tmp_path):
    begin = "\n\nHuman: Hi, can you cook?\n\nAssistant: Yes.\n\nHuman: "
    pairs = [
        {name: f"{begin}Then cook meal number {i} and tell me {i} things.\n\nAssistant: {name}" for name in hh.FIELDS}
        for i in range(20)
    ]
    prompts = build_prompts(rows(tmp_path / "a.jsonl", *pairs), PromptsSection(), source="hh", labels=())
    assert len({p.cluster_id for p in prompts}) == 1


def test_a_file_without_rows_is_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no rows"):
        rows(tmp_path / "a.jsonl")
