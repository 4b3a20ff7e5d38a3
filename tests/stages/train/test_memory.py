"""The plan of memory: what fits, what is cut, and what is refused before the first step."""

import pytest
import torch

from hasse.data.errors import InputError
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.score import outputs_of, prepared
from hasse.stages.train.memory import Sizes, activation_bytes, fixed_bytes, plan_memory


def forward(model, batch, layout):
    return outputs_of(model, batch, layout, is_reward=False)


@pytest.fixture
def examples(make_example):
    long = make_example([1] * 20, [[5] * 10 + [2], [6] * 9 + [2], [7] * 9 + [2]], prompt_id="long group")
    single = make_example([1] * 40, [[5] * 10 + [2]], prompt_id="long answer")
    return [make_example([1, 4], [[5, 2], [9, 2]]), long, single]


def plan(model, examples, free_bytes, **changes):
    with prepared(model, "shared"):
        return plan_memory(model, forward, Sizes.of(examples, "shared"), "shared", free_bytes=free_bytes, **changes)


def test_sizes_name_the_longest(examples):
    sizes = Sizes.of(examples, "shared")
    assert (sizes.group, sizes.single, sizes.single_prompt) == (50, 51, "long answer")
    assert Sizes.of(examples, "padded").group == 3 * 31
    assert sizes.group_example.prompt_id == "long answer"


def test_the_budget_is_what_fits(tiny_model, examples):
    roomy = plan(tiny_model, examples, 10**10)
    assert (roomy.max_tokens, roomy.checkpointing) == (16_384, False)
    fixed = fixed_bytes(tiny_model)
    tight = plan(tiny_model, examples, (fixed + 10**6) / 0.8)
    assert 51 <= tight.max_tokens < 16_384
    assert tight.peak_bytes <= fixed + 10**6
    assert plan(tiny_model, examples, 10**10, max_tokens=77).max_tokens == 77


def test_checkpointing_where_the_longest_answer_does_not_fit_without(tiny_model, examples):
    fixed = fixed_bytes(tiny_model)
    found = {}
    for room in (2_000, 30_000, 10**6):
        try:
            found[room] = plan(tiny_model, examples, (fixed + room) / 0.8).checkpointing
        except InputError:
            found[room] = "refused"
    assert list(found.values()) == ["refused", True, False]


def test_what_cannot_fit_is_refused_by_name(tiny_model, examples):
    with pytest.raises(InputError, match=r"prompt long answer: its longest answer is 51 tokens .* GiB of free memory"):
        plan(tiny_model, examples, 1000)
    with pytest.raises(InputError, match="prompt long answer"):
        plan(tiny_model, examples, (fixed_bytes(tiny_model) + 30_000) / 0.8, checkpointing=False)


def test_what_is_trained_counts_and_what_is_frozen_does_not(tiny_model):
    trained = sum(p.numel() for p in tiny_model.parameters())
    assert fixed_bytes(tiny_model) == 12 * trained
    tiny_model.model.requires_grad_(False)
    assert fixed_bytes(tiny_model) == 12 * tiny_model.lm_head.weight.numel()


def test_activations_grow_with_tokens_and_checkpointing_keeps_fewer(tiny_model, make_example):
    def kept(length):
        batch = collate([make_example([1] * length, [[5, 2]])])
        with prepared(tiny_model.train(), "shared"):
            return activation_bytes(lambda: forward(tiny_model, batch, "shared"), tiny_model)

    short, long = kept(15), kept(60)
    assert 3 < long / short < 5
    tiny_model.activation_checkpointing_enable()
    assert kept(60) < long / 2
    tiny_model.activation_checkpointing_disable()
    assert kept(60) == long


def test_two_passes_hold_one_candidate(tiny_model, make_example):
    """The point of it: eight candidates in the memory of one."""
    example = make_example([1, 5, 9], [[4] * 20 + [2]] * 8)
    with prepared(tiny_model.train(), "shared"):
        whole = activation_bytes(lambda: forward(tiny_model, collate([example]), "shared"), tiny_model)
        one = activation_bytes(lambda: forward(tiny_model, collate([example]).only([3]), "shared"), tiny_model)
    assert torch.is_grad_enabled()
    assert whole > 5 * one


def test_a_model_that_will_be_sharded_takes_a_share_of_the_device(tiny_model, monkeypatch):
    parameters = sum(p.numel() for p in tiny_model.parameters())
    assert fixed_bytes(tiny_model) == 12 * parameters
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert fixed_bytes(tiny_model) == (12 + 4) * parameters // 4
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    assert fixed_bytes(tiny_model) == 0
