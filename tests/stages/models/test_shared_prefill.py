"""Sampling from prompts that share tokens, against sampling from each prompt alone."""

import pytest
import torch
import transformers

from hasse.stages.models import sample
from hasse.stages.models.shared_prefill import prefill
from tests.stages.scoring.test_layouts import ARCHITECTURES, make_model


class Tokenizer:
    pad_token_id = 0
    eos_token_id = 2

    def decode(self, ids, **_):
        return " ".join(map(str, ids))


@pytest.fixture
def prompts():
    """Three prompts with a common beginning of 20 tokens, of different lengths, two of them twice and thrice."""
    generator = torch.Generator().manual_seed(3)
    begin, *ends = (torch.randint(3, 64, (n,), generator=generator).tolist() for n in (20, 3, 9, 1))
    one, two, three = ([*begin, *end] for end in ends)
    return [one, two, two, three, one, one]


@pytest.fixture(params=ARCHITECTURES)
def model(request):
    return make_model(request.param).eval()


def answers(model, prompts, monkeypatch=None):
    return sample.generate(
        model, Tokenizer(), prompts, [11 + i for i in range(len(prompts))], temperature=0.9, top_p=1.0, max_tokens=7,
        batch_size=len(prompts),
    )  # fmt: skip


def test_the_answers_and_their_log_probs_are_those_of_each_prompt_alone(model, prompts):
    alone = [
        sample.generate(
            model, Tokenizer(), [prompt], [11 + i], temperature=0.9, top_p=1.0, max_tokens=7, batch_size=1
        )[0]
        for i, prompt in enumerate(prompts)
    ]  # fmt: skip
    together = answers(model, prompts)
    for found, expected in zip(together, alone, strict=True):
        assert found.token_ids == expected.token_ids
        assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def tokens_computed(model, prompts):
    """The tokens that pass through the model's first layer before and while one token is sampled for each prompt."""
    counted = []
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    with torch.no_grad():
        hook = layers[0].register_forward_pre_hook(
            lambda _, arguments, values: counted.append((arguments or (values["hidden_states"],))[0][..., 0].numel()),
            with_kwargs=True,
        )
        try:
            sample.generate(
                model, Tokenizer(), prompts, [0] * len(prompts), temperature=0.0, top_p=1.0, max_tokens=1,
                batch_size=99,
            )  # fmt: skip
        finally:
            hook.remove()
    return sum(counted)


def test_what_is_shared_is_computed_once(prompts):
    model = make_model("llama").eval()
    rest = 29 - 20
    assert tokens_computed(model, prompts) == 20 + 3 * (rest - 1) + 6  # the last token of each of the six rows
    assert tokens_computed(model, prompts[1:3]) == 28 + 2
    assert tokens_computed(model, [prompts[0][10:], prompts[3][10:]]) == 2 * 13  # ten tokens are not worth a pass


def test_a_window_would_count_the_padding_so_only_whole_prompts_are_shared(prompts):
    ids, mask, cache = prefill(make_model("mistral").eval(), prompts, 0)
    assert mask.tolist()[0] == [0] * 6 + [1] * 23
    assert ids.shape == (6, 29)
    assert cache.get_seq_length() == 28


def test_a_model_with_a_state_samples_as_before(prompts):
    config = transformers.MambaConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    torch.manual_seed(0)
    model = transformers.MambaForCausalLM(config).eval()
    assert prefill(model, prompts, 0)[2] is None
    assert len(answers(model, [prompts[1], prompts[1]])) == 2
