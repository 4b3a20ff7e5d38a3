from collections import Counter
from dataclasses import replace

import pytest

from hasse.data.errors import InputError, RecipeError, SourceError
from hasse.data.grams import jaccard, shingles
from hasse.data.near_duplicates import clusters
from hasse.data.parquet import write_records
from hasse.data.raw_prompt import RawPrompt
from hasse.data.record_file import MappedRecords
from hasse.data.records import Message, Prompt
from hasse.pipeline.fingerprint import digest
from hasse.pipeline.settings_file import validate
from hasse.stages.prompts.carry_over import EarlierPrompt, external
from hasse.stages.prompts.held_out import prove_disjoint
from hasse.stages.prompts.placement import Placement
from hasse.stages.prompts.splits import split_of
from hasse.stages.prompts.stage import SPOOL, PromptsSection, add_rows, build_prompts, identity, sorted_prompts, spool

LABELS = ("entailment", "neutral", "contradiction")


def raw(text, **fields):
    return RawPrompt(text=text, file="t.jsonl", row=fields.pop("row", 7), **fields)


def many(number=400):
    return [raw(f"question {i} about thing {i * 7} and place {i * 13}", reference="a", row=i) for i in range(number)]


def build(rows, **settings):
    return build_prompts(rows, PromptsSection(**settings), source="s", labels=LABELS)


def test_rows_in_are_rows_out_sorted_by_id():
    prompts = build([*many(50), raw("question 1 about thing 7 and place 13"), raw("", error="has no prompt")])
    assert len(prompts) == 52
    assert [p.prompt_id for p in prompts] == sorted(p.prompt_id for p in prompts)
    assert len({p.prompt_id for p in prompts}) == 52
    assert Counter(p.status for p in prompts) == {"ok": 50, "duplicate": 1, "failed": 1}


def test_splits_follow_the_fractions_and_the_seed():
    fractions = {"pretrain": 0.0, "train": 0.6, "validation": 0.2, "test": 0.2}
    found = Counter(p.split for p in build(many(), fractions=fractions))
    assert found["train"] == pytest.approx(240, abs=40)
    assert found["test"] == pytest.approx(80, abs=30)
    assert found["pretrain"] == 0
    one, other = build(many(), split_seed=0), build(many(), split_seed=1)
    assert [p.split for p in one] != [p.split for p in other]


def test_appended_rows_move_nobody():
    before = {p.prompt_id: p for p in build(many(300))}
    after = {p.prompt_id: p for p in build(many(400))}
    assert {i: after[i] for i in before} == before


def test_near_duplicates_share_a_cluster_and_a_split():
    text = "the quick brown fox jumps over the lazy dog near the old stone bridge at noon on monday in {} spring"
    rows = [raw(text.format("early"), row=1), raw(text.format("late"), row=2), *many(30)]
    prompts = {p.text: p for p in build(rows)}
    first, second = prompts[text.format("early")], prompts[text.format("late")]
    assert 0.8 < jaccard(shingles(first.text), shingles(second.text)) < 0.82
    assert second.cluster_id == first.cluster_id == first.prompt_id
    assert second.split == first.split
    prompts = {p.text: p for p in build(rows, near_duplicate_threshold=0.85)}
    assert prompts[text.format("late")].cluster_id != prompts[text.format("early")].cluster_id


def test_clusters_are_transitive_named_by_their_first_and_follow_keys():
    words = [f"w{i}" for i in range(40)]
    texts = [" ".join(w) for w in (words, [*words[:-2], "x", "y"], ["u", "v", *words[2:-2], "x", "y"])] + [
        "alone",
        "apart",
    ]
    assert clusters(texts, [None] * 5, threshold=0.88) == [0, 0, 0, 3, 4]
    assert clusters(texts, [None, None, "k", None, "k"], threshold=0.9) == [0, 0, 0, 3, 0]
    assert clusters(["Same  Text", "same text"], [None, None], threshold=1.0) == [0, 0]


def test_a_label_outside_the_set_is_named_and_spelling_is_made_one():
    (prompt,) = build([raw("q", label="Entailment")])
    assert prompt.label == "entailment"
    with pytest.raises(
        SourceError, match=r"t\.jsonl, row 7, field 'label': unknown label 'entail'; did you mean 'entailment'"
    ):
        build([raw("q", label="entail")])


def test_an_id_given_twice_names_both_rows_and_their_files():
    with pytest.raises(SourceError, match=r"row 9, field 'prompt_id': 'a' is the id of row 4 too"):
        build([raw("q", prompt_id="a", row=4), raw("r", prompt_id="a", row=9)])
    first = replace(raw("q", prompt_id="a", row=4), file="s.jsonl")
    with pytest.raises(SourceError, match=r"t\.jsonl, row 9, .*'a' is the id of row 4 of s\.jsonl too"):
        build([first, raw("r", prompt_id="a", row=9)])


def test_an_empty_source_is_an_error():
    with pytest.raises(SourceError, match="holds no rows"):
        build([])


def test_a_training_row_near_a_held_out_one_is_set_aside():
    rows = [raw("a b c", split="train", cluster_key="k"), raw("d e f", split="test", cluster_key="k")]
    prompts = {p.text: p for p in build(rows)}
    assert prompts["a b c"].status == "duplicate"
    assert "in the split test" in (prompts["a b c"].error or "")
    assert prompts["d e f"].status == "ok"


def test_only_so_many_experts_are_kept_and_more_keep_these():
    def experts(number):
        return {p.prompt_id for p in build(many(), num_expert=number) if p.split == "train" and p.reference}

    assert len(experts(10)) == 10
    assert experts(10) < experts(25)
    assert all(p.reference for p in build(many(), num_expert=0) if p.split == "test")


def test_fractions_that_do_not_add_up_are_refused():
    with pytest.raises(RecipeError, match=r"the fractions add up to 1\.2 instead of 1"):
        validate(PromptsSection, {"fractions": {"train": 1.0}}, where="x")


def test_every_split_can_be_reached():
    section = PromptsSection(fractions={"train": 0.25, "pretrain": 0.25, "validation": 0.25, "test": 0.25})  # type: ignore[arg-type]
    assert {split_of(str(i), section) for i in range(100)} == {"train", "pretrain", "validation", "test"}


def test_the_proof_counts_and_names_an_offender():
    prompts = build(many())
    train, test = ([p for p in prompts if p.split == split] for split in ("train", "test"))
    proof = prove_disjoint(train, test)
    assert (proof.num_trained, proof.num_held_out) == (len(train), len(test))
    for change, what in (
        ({"prompt_id": test[0].prompt_id}, "id"),
        ({"cluster_id": test[0].cluster_id}, "near-duplicate cluster"),
        ({"text": test[0].text.upper()}, "text"),
    ):
        with pytest.raises(InputError, match=f"held-out prompt {test[0].prompt_id} shares its {what}"):
            prove_disjoint([*train, replace(train[0], **change)], test)


def again(before, rows, **settings):
    """The prompts of a source that has grown, by text; what was there before is carried over."""
    kept = {
        p.prompt_id: EarlierPrompt(cluster_id=p.cluster_id, split=p.split, has_reference=p.reference is not None)
        for p in before
        if p.status == "ok"
    }
    return build_prompts(rows, PromptsSection(**settings), source="s", labels=LABELS, before=kept)


HALVES = {"pretrain": 0.0, "train": 0.5, "validation": 0.0, "test": 0.5}


def pair_in_two_splits():
    """Two texts of different splits, and one that is a near-duplicate of both."""
    for seed in range(100):
        words = " ".join(f"w{seed}-{i}" for i in range(30))
        one, other, bridge = f"{words} a b c d e", f"f g h i j {words}", words
        prompts = build([raw(one), raw(other)], fractions=HALVES)
        if len({p.cluster_id for p in prompts}) == 2 and len({p.split for p in prompts}) == 2:
            return raw(one), raw(other), raw(bridge)
    raise AssertionError("no such pair")


@pytest.mark.parametrize("where", ["last", "first"])
def test_a_row_between_two_splits_is_set_aside_and_moves_nobody(where):
    one, other, bridge = pair_in_two_splits()
    before = build([one, other], fractions=HALVES)
    rows = [one, other, bridge] if where == "last" else [bridge, one, other]
    without = build(rows, fractions=HALVES)
    assert len({p.split for p in without}) == 1, "all in one cluster: one of the old rows has moved"
    after = {p.text: p for p in again(before, rows, fractions=HALVES)}
    assert [after[p.text] for p in before] == before
    assert after[bridge.text].status == "duplicate"
    assert "was in the split" in (after[bridge.text].error or "")
    third = again(list(after.values()), rows, fractions=HALVES)
    assert third == sorted(after.values(), key=lambda p: p.prompt_id)


def test_a_new_row_before_its_old_near_duplicate_follows_it():
    text = "the quick brown fox jumps over the lazy dog near the old stone bridge at noon on monday in {} spring"
    moved = 0
    for number in range(20):
        old, new = raw(text.format(f"early{number}")), raw(text.format(f"late{number}"))
        before = build([old], fractions=HALVES)
        after = {p.text: p for p in again(before, [new, old], fractions=HALVES)}
        assert after[old.text] == before[0]
        assert (after[new.text].cluster_id, after[new.text].split) == (before[0].cluster_id, before[0].split)
        assert after[new.text].status == "ok"
        moved += {p.text: p for p in build([new, old], fractions=HALVES)}[old.text].split != before[0].split
    assert moved, "without the earlier run some old rows move"


def test_a_row_whose_source_puts_it_beside_its_trained_near_duplicate_is_set_aside():
    old = raw("a b c", split="train", cluster_key="k")
    before = build([old])
    after = {p.text: p for p in again(before, [old, raw("d e f", split="test", cluster_key="k")])}
    assert after["a b c"] == before[0]
    assert after["d e f"].status == "duplicate"
    (moved,) = again(before, [raw("a b c", split="test", cluster_key="k")])
    assert (moved.status, moved.error) == ("duplicate", "it or its near-duplicate was in the split train before")


def test_experts_stay_experts_when_rows_come():
    before = build(many(200), num_expert=10)
    after = again(before, many(400), num_expert=12)
    experts = [{p.prompt_id for p in prompts if p.split == "train" and p.reference} for prompts in (before, after)]
    assert experts[0] < experts[1]
    assert len(experts[1]) == 12
    assert not experts[0] < {p.prompt_id for p in build(many(400), num_expert=12) if p.split == "train" and p.reference}


def test_a_grown_source_adds_rows_to_every_split():
    before = build(many(300))
    after = again(before, [*many(300), *(replace(r, text=f"again {r.text} more words") for r in many(300))])
    by_id = {p.prompt_id: p for p in after}
    assert [by_id[p.prompt_id] for p in before] == before
    assert Counter(p.split for p in after)["test"] > Counter(p.split for p in before)["test"]
    assert [p for p in after if p.status != "ok"] == []


def test_an_earlier_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"prompts\.before: there is no file .*prompt\.parquet"):
        external(str(tmp_path / "prompt.parquet"))
    assert external(None) == {}


# Conversations


def chat(*contents, **fields):
    """Turns of the user and the assistant in turn, with a system turn first."""
    roles = ["system", *["user", "assistant"] * len(contents)]
    messages = tuple(Message(role=role, content=content) for role, content in zip(roles, contents, strict=False))
    return raw(contents[-1], messages=messages, **fields)


def test_conversations_that_only_end_alike_are_different_prompts():
    def about(i):
        return chat("Be brief.", f"tell {i} of things {i * 7} and places {i * 13}", f"done {i}", "Please continue.")

    rows = [replace(about(i), split="train" if i < 16 else "test") for i in range(20)]
    for given in (rows, [replace(row, split=None) for row in rows]):
        prompts = build(given)
        assert len({p.cluster_id for p in prompts}) == 20
        assert {p.status for p in prompts} == {"ok"}
    prompts = build(rows)
    prove_disjoint([p for p in prompts if p.split == "train"], [p for p in prompts if p.split == "test"])


def test_questions_on_one_long_context_cluster_as_the_same_texts_would():
    context = " ".join(f"word{i}" for i in range(80))
    as_messages = [chat(context, f"What is said of thing {i}?") for i in range(10)]
    as_text = [raw(f"{context}\nWhat is said of thing {i}?") for i in range(10)]
    for rows in (as_messages, as_text, [*as_messages, *as_text]):
        assert len({p.cluster_id for p in build(rows)}) == 1


def test_a_text_and_the_same_text_as_a_message_are_one_prompt():
    text = "what is the capital of Italy"
    as_message = raw(text, messages=(Message(role="user", content=text.upper()),))
    prompts = build([raw(text), as_message])
    assert len({p.cluster_id for p in prompts}) == 1
    assert sorted(p.status for p in prompts) == ["duplicate", "ok"]


def test_the_proof_compares_whole_conversations():
    train, test = build([chat("a b c", "Go on."), chat("d e f", "Go on.")])
    test = replace(test, split="test")
    assert prove_disjoint([train], [test]).num_trained == 1
    with pytest.raises(InputError, match="shares its text"):
        prove_disjoint([replace(train, messages=test.messages)], [test])


# The stage, streamed


def streamed(path, rows, **settings):
    """The prompts as the stage writes them: rows on disk, a few prompts at a time in memory."""
    placement = Placement(PromptsSection(**settings), source="s", labels=LABELS, folder=path)
    with spool(path) as file:
        kept = MappedRecords.write(file, add_rows(rows, placement), RawPrompt)
        placement.settle()
        found = list(sorted_prompts(kept, placement))
    assert list(path.iterdir()) == []
    return found


def test_streamed_prompts_are_those_that_are_built_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("hasse.stages.prompts.stage.ROWS_SORTED", 7)
    rows = [
        *many(900),
        *(replace(row, split="test", label="neutral") for row in many(5)),
        raw("", error="has no prompt"),
        chat("Be brief.", "one", "two", "three", reference="four", drafts=("a", "b"), context="c", group="g"),
        raw("an own id", prompt_id="mine", answers=("x", "y"), variants=("v",), cluster_key="k"),
    ]
    settings = {"num_expert": 50, "split_seed": 3}
    assert streamed(tmp_path, iter(rows), **settings) == build(rows, **settings)


def test_rows_that_a_killed_run_left_are_taken_away(tmp_path):
    (tmp_path / SPOOL).write_text("half a row")
    assert len(streamed(tmp_path, many(3))) == 3


def test_the_identity_of_prompts_is_the_digest_of_all_usable_ones(tmp_path):
    prompts = build([*many(60), many(1)[0], raw("grüß \u2028 \x1f")])
    write_records(tmp_path / "prompt.parquet", prompts, Prompt)
    found = identity(tmp_path)
    for split in ("pretrain", "train", "validation", "test"):
        usable = [repr(p) for p in prompts if p.status == "ok" and p.split == split]
        assert found[f"part:{split}"] == digest(usable)


@pytest.mark.parametrize("answers", [("",), (" ", "\u200b")])
def test_gold_answers_that_are_blank_are_refused_by_file_row_and_field(answers):
    with pytest.raises(SourceError, match=r"t\.jsonl, row 3, field 'answers'.*no answer could be right"):
        build([raw("asked", answers=answers, row=3)])
    (kept,) = build([raw("asked", answers=("", "A"), row=3)])
    assert kept.answers == ("", "A")
