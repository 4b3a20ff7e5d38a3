"""PIT's reinforcement: the reward of an answer, and a phase that was stopped and resumed."""

import copy
from typing import ClassVar

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from hasse.stages.models.adapters import write_base
from hasse.stages.models.frozen_base import load_base
from hasse.stages.models.load import has_dropout, save_adapter, save_model
from hasse.stages.models.tokens import prompt_token_ids
from hasse.stages.pit.reinforce import PromptTrainer, reinforce
from hasse.stages.pit.rl import ImproveRlSettings, Reward, load_models
from hasse.stages.train.adapter import add_adapter
from hasse.stages.train.fit import curve
from hasse.stages.train.methods.pit import RlSettings
from hasse.stages.train.settings import LoraSettings
from hasse.stages.train.trainer import epochs_of
from tests.stages.tokenizers import chatml

TEMPLATE = "{prompt} r {reference} t"
REFERENCES = [("b c", "d"), ("c d", "e f"), ("d", "g"), ("e f", "h")]


def model(tiny_model, seed, kind=LlamaForCausalLM, **changes):
    torch.manual_seed(seed)
    made = kind(LlamaConfig(**{**tiny_model.config.to_dict(), **changes})).eval()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(3)  # so that two models differ by more than a little
    return made


def settings(**changes):
    return ImproveRlSettings(rl=RlSettings(**changes), references="easy", template=TEMPLATE)


class Heard(Reward):
    """A reward that keeps the prompts whose answers it was asked about."""

    prompts: ClassVar = []

    def __call__(self, completion_ids, x, y_ref, **others):
        self.prompts.append(x)
        return super().__call__(completion_ids, x, y_ref, **others)


def reward(tiny_model, tokenizer, policy, how):
    head = model(tiny_model, 2, LlamaForSequenceClassification, num_labels=1)
    return Heard(head, policy=policy, anchor=model(tiny_model, 1), tokenizer=tokenizer, settings=how)


def logp(model, prompt, answer):
    ids = torch.tensor([[*prompt, *answer]])
    with torch.inference_mode():
        found = model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
    return found.gather(1, torch.tensor(answer)[:, None]).sum().item()


def test_the_reward_is_the_gap_less_beta_times_policy_over_anchor(tiny_model, tiny_tokenizer):
    policy = model(tiny_model, 0)
    made = reward(tiny_model, tiny_tokenizer, policy, settings(beta=0.5))
    policy.train()
    answers = [[7, 8, 2], [9, 2]]
    found = made(completion_ids=answers, x=["b c", "d"], y_ref=["d", "g"])
    assert policy.training
    for value, answer, text in zip(found, answers, ["b c r d t", "d r g t"], strict=True):
        prompt = tiny_tokenizer(text).input_ids
        with torch.inference_mode():
            gap = made.reward_model(torch.tensor([[*prompt, *answer]])).logits.item()
        ratio = logp(policy.eval(), prompt, answer) - logp(made.anchor, prompt, answer)
        assert abs(ratio) > 0.1
        assert value == pytest.approx(gap - 0.5 * ratio, abs=1e-4)


def test_the_reward_holds_the_policy_against_the_anchor_that_it_was_given(tiny_model, tiny_tokenizer):
    policy = model(tiny_model, 0)
    made = reward(tiny_model, tiny_tokenizer, policy, settings(beta=1.0))
    asked = {"completion_ids": [[7, 8, 2]], "x": ["b c"], "y_ref": ["d"]}
    (before,) = made(**asked)
    with torch.no_grad():
        policy.lm_head.weight[7] += policy.lm_head.weight.abs().max()  # another policy, another penalty
    (after,) = made(**asked)
    prompt = tiny_tokenizer("b c r d t").input_ids
    moved = logp(policy, prompt, [7, 8, 2]) - logp(model(tiny_model, 0), prompt, [7, 8, 2])
    assert abs(moved) > 0.01
    assert after - before == pytest.approx(-moved, abs=1e-4)


class Interrupted(Exception):
    pass


def phase(tiny_model, tokenizer, folder, *, stop_after=None, **changes):
    """(curve, policy, steps that were taken)"""
    steps = []

    def on_step(step, total):
        steps.append(step)
        if step == stop_after:
            raise Interrupted

    how = settings(steps=4, prompts_per_step=2, num_generations=2, max_tokens=4, save_steps=2, **changes)
    policy = model(tiny_model, 0, attention_dropout=0.4)
    log = reinforce(
        policy,
        reward(tiny_model, tokenizer, policy, how),
        REFERENCES,
        tokenizer=tokenizer,
        template=TEMPLATE,
        settings=how.rl,
        seed=5,
        folder=folder,
        on_step=on_step,
    )
    assert not has_dropout(policy)
    points = {(p.step, p.metric): p.value for p in curve(log) if "time" not in p.metric}
    return points, torch.cat([p.detach().flatten() for p in policy.parameters()]), steps


def test_a_resumed_phase_equals_the_undisturbed_one(tiny_model, tiny_tokenizer, tmp_path):
    Heard.prompts.clear()
    expected, weights, _ = phase(tiny_model, tiny_tokenizer, tmp_path / "whole")
    asked = [REFERENCES[i][0] for i in epochs_of(len(REFERENCES), 8, 5)]
    assert Heard.prompts == [[a, a, b, b] for a, b in zip(asked[::2], asked[1::2], strict=True)]
    with pytest.raises(Interrupted):
        phase(tiny_model, tiny_tokenizer, tmp_path / "parts", stop_after=3)
    torch.manual_seed(99)
    found, resumed, steps = phase(tiny_model, tiny_tokenizer, tmp_path / "parts")
    assert steps == [3, 4]
    assert found == expected
    assert torch.equal(weights, resumed)
    assert len({value for (_, metric), value in expected.items() if metric == "reward"}) == 4


def test_the_policy_samples_from_the_prompts_that_are_trained_elsewhere(tiny_model):
    tokenizer = chatml()
    trainer = copy.copy(PromptTrainer.__new__(PromptTrainer))
    trainer.processing_class = tokenizer
    text = "Say<|im_end|>"
    ids, _, _ = trainer._tokenize_prompts([[{"role": "user", "content": text}], text])
    assert ids == [prompt_token_ids(tokenizer, text)] * 2
    assert ids[0].count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1


@pytest.fixture
def adapters(tiny_model, tiny_tokenizer, tmp_path):
    """The folders of an improver and of its reward model, which are adapters on one base."""
    save_model(tmp_path / "base", tiny_model, tiny_tokenizer)
    folders = {}
    for name, is_reward in (("improver", False), ("reward", True)):
        base = load_base(tmp_path / "base", "auto", is_reward=is_reward)
        made = add_adapter(base, LoraSettings(r=2), 0, is_reward=is_reward)
        with torch.no_grad():
            for key, p in made.named_parameters():
                if "lora" in key or "score" in key:
                    p.normal_()
        save_adapter(tmp_path / name, made, tiny_tokenizer, base=tmp_path / "base")
        write_base(tmp_path / name, tmp_path / "base", digests={"weights": "w"}, store=tmp_path / "store")
        folders[name] = tmp_path / name
    return folders


def test_policy_anchor_and_reward_model_stand_on_one_base_and_only_the_policy_learns(
    adapters, tiny_tokenizer, tmp_path
):
    how = ImproveRlSettings(
        rl=RlSettings(steps=1, prompts_per_step=2, num_generations=2, max_tokens=4, learning_rate=0.1, beta=0.5),
        references="easy",
        template=TEMPLATE,
        lora=LoraSettings(r=2),
    )
    improver = adapters["improver"]
    policy, anchor, head = load_models(improver, improver, adapters["reward"], lora=how.lora)
    held = [{p.data_ptr() for n, p in m.named_parameters() if "lora" not in n} for m in (policy, anchor)]
    assert held[0] == held[1]
    body = {p.data_ptr() for n, p in head.named_parameters() if "lora" not in n and "score" not in n}
    assert body <= held[0]
    made = Reward(head, policy=policy, anchor=anchor, tokenizer=tiny_tokenizer, settings=how)
    frozen = [{n: p.clone() for n, p in m.named_parameters()} for m in (anchor, head)]
    start = {n: p.clone() for n, p in policy.named_parameters()}
    folder = tmp_path / "trainer"
    reinforce(
        policy, made, REFERENCES, tokenizer=tiny_tokenizer, template=TEMPLATE, settings=how.rl, seed=5, folder=folder,
        on_step=lambda *_: None,
    )  # fmt: skip
    changed = {n for n, p in policy.named_parameters() if not torch.equal(p, start[n])}
    assert changed
    assert all("lora" in n for n in changed)
    for module, kept in zip((anchor, head), frozen, strict=True):
        assert all(torch.equal(p, kept[n]) for n, p in module.named_parameters())


def test_micro_batches_and_recomputed_activations_train_the_same_policy(tiny_model, tiny_tokenizer, tmp_path):
    _, whole, _ = phase(tiny_model, tiny_tokenizer, tmp_path / "whole")
    parts = {"micro_batch_size": 2, "gradient_checkpointing": True}
    _, found, _ = phase(tiny_model, tiny_tokenizer, tmp_path / "parts", **parts)
    torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="micro_batch_size 3 does not divide the 4 answers of a step"):
        RlSettings(prompts_per_step=2, num_generations=2, micro_batch_size=3)
