"""A model with a scalar head: every text is scored as it would be alone, and what is no reward model is refused."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from hasse.data.errors import InputError
from hasse.data.records import Candidate, Message, Prompt
from hasse.stages.grading import TaskSettings
from hasse.stages.judge.teachers import reward_model
from hasse.stages.models import scalar_head as scalar_models

TASK = TaskSettings(labels=("b", "c"))
TEMPLATE = "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + ' ' + eos_token + ' ' }}{% endfor %}"
ANSWERS = ("b c d e f", "b", "b c d", "c c c c", "e")


def prompt(text="b c d", **fields):
    return Prompt(prompt_id="p", text=text, source="s", cluster_id="p", split="train", **fields)


def candidates(*texts):
    return [Candidate(prompt_id="p", candidate_id=f"s-{i}", text=t, source="student") for i, t in enumerate(texts)]


@pytest.fixture(autouse=True)
def unloaded():
    yield
    reward_model.close()


@pytest.fixture
def saved(tmp_path, tiny_tokenizer):
    """(architecture, template, config) -> the folder of a random model."""

    def save(kind="llama", template=TEMPLATE, name="model", labels=1, seed=0, **config):
        torch.manual_seed(seed)
        shape = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
        shape |= {
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "num_labels": labels,
            "initializer_range": 1.0,
        }
        if kind == "llama":
            model = LlamaForSequenceClassification(LlamaConfig(**shape, bos_token_id=1, eos_token_id=2, **config))
        else:
            model = BertForSequenceClassification(BertConfig(**shape, **config))
        tiny_tokenizer.chat_template = template
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name, model.eval()

    return save


def totals(folder, asked, *texts, **settings):
    made = reward_model.Settings(model=str(folder), **settings)
    (found,) = reward_model.judge([(asked, candidates(*texts))], made, TASK, None)
    assert {j.teacher for j in found} == {"reward_model"}
    return [j.total for j in found]


@pytest.mark.parametrize("pad", [None, 0, 2], ids=["no padding token", "its own", "the end token"])
def test_a_score_is_that_of_the_text_alone_whatever_stands_beside_it(saved, tiny_tokenizer, pad):
    folder, model = saved(pad_token_id=pad)
    found = totals(folder, prompt(), *ANSWERS)
    for text, score in zip(ANSWERS, found, strict=True):
        turns = [{"role": "user", "content": "b c d"}, {"role": "assistant", "content": text}]
        ids = tiny_tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False)
        with torch.no_grad():
            assert score == pytest.approx(model(ids).logits.item(), abs=1e-5)
    assert len({round(score, 3) for score in found}) == len(ANSWERS)
    for size in (1, 20, 40):
        assert totals(folder, prompt(), *ANSWERS, micro_batch_tokens=size) == pytest.approx(found, abs=1e-5)


def test_without_a_template_prompt_and_answer_are_a_pair(saved, tiny_tokenizer):
    folder, model = saved("bert", template=None)
    found = totals(folder, prompt(), *ANSWERS)
    for text, score in zip(ANSWERS, found, strict=True):
        with torch.no_grad():
            assert score == pytest.approx(
                model(**tiny_tokenizer("b c d", text, return_tensors="pt")).logits.item(), abs=1e-5
            )
    talk = prompt(messages=(Message(role="user", content="b"),))
    with pytest.raises(InputError, match="has no chat template"):
        totals(folder, talk, "b")


def test_a_conversation_goes_through_the_template(saved):
    folder, _ = saved()
    one = prompt(messages=(Message(role="user", content="b c d"),))
    two = prompt(messages=(Message(role="user", content="e"), Message(role="assistant", content="f"), *one.messages))
    assert totals(folder, one, "b") == totals(folder, prompt(), "b")
    assert totals(folder, two, "b") != totals(folder, prompt(), "b")


def test_what_does_not_fit_is_filtered_and_what_is_no_number_failed(saved):
    folder, model = saved()
    made = reward_model.Settings(model=str(folder))
    ((long, short),) = reward_model.judge([(prompt(), candidates("b " * 70, "label: c"))], made, TASK, None)
    assert (long.status, long.total, short.status, short.label) == ("filtered", None, "ok", "c")
    with torch.no_grad():
        model.score.weight.fill_(float("nan"))
    model.save_pretrained(folder)
    reward_model.close()
    ((broken,),) = reward_model.judge([(prompt(), candidates("b"))], made, TASK, None)
    assert (broken.status, broken.total, broken.error) == ("failed", None, "the reward model gives nan")


def test_only_a_model_with_one_trained_score_is_one(saved, tiny_model, tiny_tokenizer, tmp_path):
    with pytest.raises(InputError, match="has 3 labels; a reward model is a sequence classifier with one"):
        totals(saved(labels=3, name="three")[0], prompt(), "b")
    tiny_model.config.num_labels = 1
    tiny_model.save_pretrained(tmp_path / "causal")
    tiny_tokenizer.save_pretrained(tmp_path / "causal")
    with pytest.raises(InputError, match=r"has no weights for score\.weight"):
        totals(tmp_path / "causal", prompt(), "b")
    folder, _ = saved(name="gap")
    (folder / scalar_models.CARD).write_text("# train/gap\n\nTrained by `gap_reward`, seed 0, 4 optimiser steps.\n")
    with pytest.raises(InputError, match="PIT's reward model, which scores an answer against another"):
        totals(folder, prompt(), "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no reward model with a tokenizer"):
        totals(tmp_path / "empty", prompt(), "b")


def test_weights_tokenizer_and_template_enter_the_key(saved):
    found = [
        reward_model.external(reward_model.Settings(model=str(saved(name=name, **changes)[0])))
        for name, changes in {"a": {}, "b": {}, "c": {"seed": 1}, "d": {"template": TEMPLATE + " "}}.items()
    ]
    assert found[0] == found[1]
    assert [d["weights"] == found[0]["weights"] for d in found[2:]] == [False, True]
    assert [d["template"] == found[0]["template"] for d in found[2:]] == [True, False]
