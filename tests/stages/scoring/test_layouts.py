"""Rows of many completions against one forward pass a completion, with the model's own attention and logits."""

from dataclasses import replace

import pytest
import torch
import transformers

from hasse.data.errors import InputError
from hasse.stages.scoring.batch import collate
from hasse.stages.scoring.branch_attention import NAME, visible
from hasse.stages.scoring.rows import bins, lay_out
from hasse.stages.scoring.score import (
    choose_layout,
    group_of,
    in_passes,
    outputs_of,
    prepared,
    sequence_logps,
    sequence_rewards,
    tokens_of,
)

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OF_GPT2 = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES = {
    "llama": ("LlamaConfig", SMALL),
    "qwen2": ("Qwen2Config", SMALL),
    "qwen3": ("Qwen3Config", {**SMALL, "head_dim": 8}),
    "mistral": ("MistralConfig", {**SMALL, "sliding_window": 6}),
    "gemma": ("GemmaConfig", {**SMALL, "head_dim": 8}),
    "gemma2, capped scores and logits": ("Gemma2Config", {**SMALL, "head_dim": 8, "sliding_window": 6}),
    "gemma3, some layers in a window": ("Gemma3TextConfig", {**SMALL, "head_dim": 8, "sliding_window": 6}),
    "gpt2": ("GPT2Config", {**OF_GPT2, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0, "n_positions": 512}),
    "phi, a bias in the head": ("PhiConfig", SMALL),
    "cohere, scaled logits": ("CohereConfig", {**SMALL, "logit_scale": 0.25}),
    "granite, divided logits": ("GraniteConfig", {**SMALL, "logits_scaling": 3.0}),
}


def make_model(name, *, labels=None):
    kind, values = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**values, **({"num_labels": labels} if labels else {}))
    auto = transformers.AutoModelForSequenceClassification if labels else transformers.AutoModelForCausalLM
    model = auto.from_config(config).float().train()
    for parameter in model.parameters():  # a fresh model's biases are 0 and its answers nearly alike
        torch.nn.init.normal_(parameter, std=0.15)
    return model


def draw(lengths, generator):
    return [torch.randint(3, 64, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture
def groups(make_example):
    """Ragged: short and long prompts, long and short answers, one prompt with a single one-token answer."""
    generator = torch.Generator().manual_seed(1)
    made = [(11, (5, 3, 9)), (4, (1,)), (9, (2, 2, 4, 12)), (300, (20, 7)), (260, (31,))]
    return [
        make_example(*draw([prompt], generator), draw(lengths, generator), prompt_id=f"p{i}")
        for i, (prompt, lengths) in enumerate(made)
    ]


def gradient(model, outputs, weights):
    model.zero_grad()
    (outputs * weights).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def one_by_one(model, examples):
    """Each completion alone, without padding, masks or positions of ours."""
    found = []
    for example in examples:
        for completion in example.completions:
            ids = torch.tensor([[*example.prompt_token_ids, *completion.token_ids]])
            logp = model(input_ids=ids).logits[0].log_softmax(-1)
            start = len(example.prompt_token_ids)
            found += [logp[start + i - 1, token] for i, token in enumerate(completion.token_ids)]
    return torch.stack(found)


def assert_close(found, expected, *, relative):
    assert float((found - expected).abs().max()) <= relative * float(expected.abs().max())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_rows_equal_separate_forwards(name, groups):
    model = make_model(name)
    expected = one_by_one(model, groups)
    weights = torch.randn(len(expected), generator=torch.Generator().manual_seed(2))
    expected_gradient = gradient(model, expected, weights)
    batch = collate(groups)
    for layout in ("padded", "packed", "shared"):
        with prepared(model, layout):
            found = sequence_logps(model, batch, layout).logp_T
            assert_close(found, expected, relative=1e-5)
            assert_close(gradient(model, found, weights), expected_gradient, relative=1e-5)
    assert choose_layout(model, groups[:1])[0] == "shared"
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 64)


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
def test_rewards_in_rows_equal_separate_forwards(name, groups):
    model = make_model(name, labels=1)
    expected = torch.stack(
        [
            model(input_ids=torch.tensor([[*e.prompt_token_ids, *c.token_ids]])).logits[0, 0]
            for e in groups
            for c in e.completions
        ]
    )
    weights = torch.randn(len(expected), generator=torch.Generator().manual_seed(2))
    expected_gradient = gradient(model, expected, weights)
    for layout in ("padded", "packed", "shared"):
        with prepared(model, layout):
            found = sequence_rewards(model, collate(groups), layout).reward_N
            assert_close(found, expected, relative=1e-5)
            assert_close(gradient(model, found, weights), expected_gradient, relative=1e-5)
    assert choose_layout(model, groups[:1])[0] == "shared"


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("which", [0, 3])
def test_a_response_does_not_see_its_neighbours(name, which, groups):
    """To the last bit: other tokens in one answer leave all other answers' log-probs as they were."""
    model = make_model(name).eval()
    example = groups[which]
    changed = replace(
        example.completions[1], token_ids=tuple(3 + (t + 5) % 60 for t in example.completions[1].token_ids)
    )
    other = replace(example, completions=(example.completions[0], changed, *example.completions[2:]))
    with torch.no_grad(), prepared(model, "shared"):
        before, after = (
            sequence_logps(model, collate([groups[1], e, groups[2]]), "shared").logp_T for e in (example, other)
        )
    first = 1 + len(example.completions[0].token_ids)
    own = slice(first, first + len(changed.token_ids))
    assert not torch.allclose(before[own], after[own])
    before[own] = after[own] = 0
    assert torch.equal(before, after)


def test_rows_work_with_adapters(groups):
    from peft import LoraConfig, get_peft_model

    model = make_model("llama")
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    batch = collate(groups)
    results = []
    for layout in ("padded", "shared"):
        with prepared(adapted, layout):
            found = sequence_logps(adapted, batch, layout).logp_T
            results.append((found.detach(), gradient(adapted, found, torch.ones(len(found)))))
    assert_close(results[1][0], results[0][0], relative=1e-5)
    assert_close(results[1][1], results[0][1], relative=1e-5)
    assert results[0][1].abs().max() > 0


def test_rows_in_bfloat16_are_within_the_noise_of_bfloat16(groups):
    model, batch = make_model("llama").eval(), collate(groups)
    with torch.no_grad():
        exact = sequence_logps(model, batch).logp_T
        with torch.autocast("cpu", torch.bfloat16):
            noisy = sequence_logps(model, batch).logp_T
            with prepared(model, "shared"):
                found = sequence_logps(model, batch, "shared").logp_T
    noise, ours = ((x - exact).abs().mean() for x in (noisy, found))
    assert noise > 0
    assert ours < 1.5 * noise


def test_what_a_row_costs(groups):
    prompt, lengths = group_of(groups[0])
    assert (prompt, lengths) == (11, [5, 3, 9])
    assert tokens_of(prompt, lengths, "shared") == len(lay_out(collate(groups[:1]), shared=True).ids_L) == 11 + 14
    assert tokens_of(prompt, lengths, "packed") == len(lay_out(collate(groups[:1]), shared=False).ids_L) == 33 + 14
    assert tokens_of(prompt, lengths, "padded") == 3 * 20


def test_the_rule_of_what_is_seen(make_example):
    """[prompt 2 tokens | answer of 3 | answer of 2], and behind it a prompt with one answer; last tokens left out."""
    row = lay_out(collate([make_example([5, 6], [[7, 8, 2], [9, 2]]), make_example([5], [[7, 2]])]), shared=True)
    place = torch.arange(len(row.ids_L))
    rule = visible(row.structure_3L, None)
    seen = rule(0, 0, place[:, None], place[None]).int().tolist()
    assert row.ids_L.tolist() == [5, 6, 7, 8, 9, 5, 7]
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]
    assert row.structure_3L[2].tolist() == [0, 1, 2, 3, 2, 0, 1]
    assert row.predicting_T.tolist() == [1, 2, 3, 1, 4, 5, 6]
    in_window = visible(row.structure_3L, 2)(0, 0, place[:, None], place[None]).int().tolist()
    assert in_window[3] == [0, 0, 1, 1, 0, 0, 0]
    assert in_window[4] == [0, 1, 0, 0, 1, 0, 0]


def test_the_rule_is_what_flex_attention_masks_by(groups):
    from torch.nn.attention.flex_attention import create_mask

    row = lay_out(collate(groups), shared=True)
    length = len(row.ids_L)
    place = torch.arange(length)
    for window in (None, 6):
        rule = visible(row.structure_3L, window)
        dense = create_mask(rule, 1, 1, length, length, device="cpu")[0, 0]
        assert torch.equal(dense, rule(0, 0, place[:, None], place[None]))
        assert dense.any(1).all()


@pytest.mark.slow
def test_flex_attention_says_the_same(groups, monkeypatch):
    """What CUDA takes, compiled for the CPU, which can do its forward pass: blocks, padding and all."""
    from hasse.stages.scoring import branch_attention as attention

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **{**SMALL, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    )
    model, batch = transformers.AutoModelForCausalLM.from_config(config).eval(), collate(groups[:4])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    with torch.no_grad():
        expected = sequence_logps(model, batch).logp_T
        monkeypatch.setattr(attention, "takes_flex", lambda tensor: True)
        with prepared(model, "shared"):
            found = sequence_logps(model, batch, "shared").logp_T
    assert_close(found, expected, relative=1e-5)


def test_an_empty_prompt_is_refused(make_example):
    with pytest.raises(ValueError, match="a prompt has no tokens"):
        lay_out(collate([make_example([], [[7, 2]])]), shared=True)


def test_bins_hold_what_fits_and_lose_nothing():
    sizes = [5, 9, 2, 2, 7, 30, 1]
    found = bins(sizes, 10)
    assert sorted(i for members in found for i in members) == list(range(7))
    assert [sum(sizes[i] for i in members) for members in found] == [30, 10, 9, 7]
    assert bins(sizes, 10**9) == [list(range(7))]


def test_padded_rows_go_with_rows_of_like_width():
    assert in_passes([(10, [5]), (2, [3, 3]), (9, [5]), (2, [2])], "padded", 30) == [[0, 2], [1, 3]]


def test_a_prompt_is_not_shared_where_it_does_not_pay(make_example):
    model = make_model("llama")
    short, long = make_example([1], [[5] * 9 + [2]] * 2), make_example([1] * 9, [[5, 2]] * 2)
    layout, why = choose_layout(model, [short])
    assert layout == "packed"
    assert "saves" in choose_layout(model, [long])[1]
    assert "too little" in why
    assert choose_layout(model, [short], "shared") == ("shared", "as asked")


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        (
            "BloomConfig",
            {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4},
            "does not take its attention",
        ),
        (
            "MambaConfig",
            {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4},
            "does not take its attention",
        ),
        ("GptOssConfig", {**SMALL, "head_dim": 8, "num_local_experts": 2}, "does not take rows"),
    ],
)
def test_a_model_that_cannot_take_rows_gets_padded_ones(kind, values, reason, groups):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**values))
    layout, why = choose_layout(model, groups)
    assert layout == "padded"
    assert reason in why
    with pytest.raises(InputError, match="layout shared is not possible"):
        choose_layout(model, groups, "shared")


def test_a_model_whose_rows_are_wrong_is_found_out(groups, monkeypatch):
    """An attention function that lets answers see each other is not trusted."""
    model = make_model("llama")
    used = transformers.AttentionInterface()[NAME]
    monkeypatch.setitem(used.__globals__, "visible", lambda structure, window: lambda b, h, q, k: q >= k)
    layout, why = choose_layout(model, groups)
    assert layout == "padded"
    assert "nats off" in why


def test_the_model_is_as_it_was_afterwards(groups):
    model, batch = make_model("llama"), collate(groups)
    before = model.config._attn_implementation
    with prepared(model, "shared"):
        assert outputs_of(model, batch, "shared", is_reward=False).shape
    assert "forward" not in vars(model)
    with pytest.raises(AttributeError), prepared(model, "shared"):
        sequence_logps(model, None, "shared")
    assert model.config._attn_implementation == before
    assert "forward" not in vars(model)
