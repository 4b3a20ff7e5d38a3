"""PIT's parts: folds, texts, the gap reward model's four orders, calibration, the reward."""

import json
from dataclasses import replace

import pytest
import torch

from hasse.data.errors import SourceError
from hasse.data.records import Message, Prompt
from hasse.stages.pit.examples import ImproverExamplesSettings, gap_example, improver_example
from hasse.stages.pit.improve_file import read_answers
from hasse.stages.pit.improver import FOLDS, GapJudge, Triple, fold_of, improver_ids
from hasse.stages.train.loss_terms import penalised_reward
from hasse.stages.train.methods.gap_reward import ORDERS
from tests.stages import tokenizers

HOW = ImproverExamplesSettings(template="{prompt} r {reference} t", max_length=60)


def prompt(number=0, text="b c"):
    return Prompt(prompt_id=f"p{number}", text=text, source="s", cluster_id=f"c{number}", split="train")


@pytest.fixture
def triple():
    return Triple(prompt=prompt(), preferred="d e f", other="g h")


def test_folds_are_disjoint_by_cluster_and_about_a_third_each():
    folds = [fold_of(prompt(i)) for i in range(3000)]
    assert folds == [fold_of(prompt(i)) for i in range(3000)]
    assert {fold: folds.count(fold) for fold in FOLDS}.keys() == set(FOLDS)
    assert all(900 < folds.count(fold) < 1100 for fold in FOLDS)


def test_the_improver_writes_the_preferred_answer_after_the_other(tiny_tokenizer, triple):
    example = improver_example(triple, tiny_tokenizer, HOW)
    assert tiny_tokenizer.decode(list(example.prompt_token_ids)).endswith("b c r g h t")
    assert tiny_tokenizer.decode(list(example.completions[0].token_ids)) == "d e f </s>"
    assert example.target == 0


def test_the_reward_model_reads_prompt_reference_candidate_in_four_orders(tiny_tokenizer, triple):
    example = gap_example(triple, tiny_tokenizer, HOW)
    texts = [
        tiny_tokenizer.decode([*example.prompt_token_ids, *completion.token_ids]) for completion in example.completions
    ]
    w, l = "d e f", "g h"  # noqa: E741  as in the paper
    expected = [f"b c r {ref} t {candidate} </s>" for candidate, ref in ((w, l), (l, w), (w, w), (l, l))]
    assert [text.removeprefix("<s> ") for text in texts] == expected
    assert [c.candidate_id for c in example.completions] == list(ORDERS)


def test_improver_prompt_and_answer_are_the_reward_models_text(tiny_tokenizer, triple):
    """One string serves both: the text of wl is the improver's prompt with its answer."""
    asked = improver_example(triple, tiny_tokenizer, HOW)
    judged = gap_example(triple, tiny_tokenizer, HOW)
    assert [*asked.prompt_token_ids, *asked.completions[0].token_ids] == [
        *judged.prompt_token_ids,
        *judged.completions[0].token_ids,
    ]


def test_a_conversation_stands_in_the_improvers_prompt_turn_by_turn():
    """In one turn of the user; what the prompt's own turns say opens no turn of the template."""
    tokenizer = tokenizers.chatml()
    turns = (("user", "Hi"), ("assistant", "Hello!"), ("user", "Cook rice."))
    asked = replace(prompt(), messages=tuple(Message(role=role, content=content) for role, content in turns))
    triple = Triple(prompt=asked, preferred="With pleasure.", other="No.")
    how = ImproverExamplesSettings(max_length=200)
    frame = "user: Hi\n\nassistant: Hello!\n\nuser: Cook rice.\n\nAn answer:\nNo.\n\nA better answer:\n"
    improver = improver_example(triple, tokenizer, how)
    assert tokenizer.decode(list(improver.prompt_token_ids)) == (
        f"<|im_start|>user\n{frame}<|im_end|>\n<|im_start|>assistant\n"
    )
    gap = gap_example(triple, tokenizer, how)
    wl = [*gap.prompt_token_ids, *gap.completions[0].token_ids]
    assert wl == [*improver.prompt_token_ids, *improver.completions[0].token_ids]


def test_a_blind_reward_model_sees_no_reference(tiny_tokenizer, triple):
    example = gap_example(triple, tiny_tokenizer, HOW.model_copy(update={"blind": True}))
    wl, lw, ww, ll = ([*example.prompt_token_ids, *c.token_ids] for c in example.completions)
    assert wl == ww != lw == ll


def test_the_reward_is_the_gap_less_the_weighted_log_ratio():
    found = penalised_reward(torch.tensor([1.2]), torch.tensor([-1.75]), torch.tensor([-2.2]), beta=0.05)
    assert found.tolist() == pytest.approx([1.1775])


class Lengths(GapJudge):
    """A reward model whose gap is known: how much longer the candidate is, plus a zero that is off."""

    def __init__(self):
        super().__init__(None, None, "")

    def gaps(self, asked):
        return [len(y) - len(ref) + 5.0 for _, y, ref in asked]


def test_calibration_takes_the_free_zero_away():
    judge = Lengths()
    assert judge.gaps([("x", "abc", "a")]) == [7.0]
    assert judge.calibrated([("x", "abc", "a"), ("x", "a", "abc"), ("x", "ab", "cd")]) == [2.0, -2.0, 0.0]


def test_the_judge_reads_the_last_token_whatever_the_batch(tiny_model, tiny_tokenizer):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**{**tiny_model.config.to_dict(), "num_labels": 1})).eval()
    asked = [("b c", "d", "e f g h"), ("b", "d e f", "g"), ("b c d e f", "g h", "k")]
    together = GapJudge(model, tiny_tokenizer, HOW.template).gaps(asked)
    alone = [GapJudge(model, tiny_tokenizer, HOW.template, micro_batch_tokens=1).gaps([one])[0] for one in asked]
    assert together == pytest.approx(alone, abs=1e-6)
    ids = improver_ids(tiny_tokenizer, "b c", "e f g h", HOW.template)
    text = torch.tensor([[*ids, *tiny_tokenizer("d", add_special_tokens=False).input_ids, 2]])
    hidden = model.model(text).last_hidden_state
    assert together[0] == pytest.approx(model.score(hidden[0, -1]).item(), abs=1e-6)


def test_a_conversation_is_improved_as_a_whole(tmp_path, tiny_tokenizer):
    turns = (Message(role="system", content="a b"), Message(role="user", content="c"))
    triple = Triple(prompt=replace(prompt(text="c"), messages=turns), preferred="d", other="e")
    expected = improver_ids(tiny_tokenizer, "system: a b\n\nuser: c", "e", HOW.template)
    assert list(improver_example(triple, tiny_tokenizer, HOW).prompt_token_ids) == expected
    path = tmp_path / "t.jsonl"
    given = [*({"role": turn.role, "content": turn.content} for turn in turns), {"role": "assistant", "content": "e"}]
    path.write_text(json.dumps({"messages": given}) + "\n" + json.dumps({"prompt": "c", "answer": None}) + "\n")
    whole, single = read_answers(path)
    assert (whole["prompt"], whole["answer"], len(whole["messages"])) == ("system: a b\n\nuser: c", "e", 2)
    assert (single["prompt"], single["answer"]) == ("c", None)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": {"a": 1}}, "field 'prompt': must be text"),
        ({"prompt": "  "}, "field 'prompt': is missing or empty"),
        ({"prompt": "a", "answer": ["b"]}, "field 'answer': must be text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "field 'messages': turn 1 has an unknown role"),
        ({"messages": []}, "field 'messages': is empty"),
        ({"messages": [{"role": "user", "content": "x"}], "prompt": "x"}, "give one of the two"),
        ({"prompt": "a\ud800"}, "field 'prompt': holds half of a character"),
    ],
)
def test_rows_that_cannot_be_improved_are_named(tmp_path, row, problem):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(SourceError, match=rf"t\.jsonl, row 1, .*{problem}"):
        read_answers(path)
