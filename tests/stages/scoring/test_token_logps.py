"""Log-probs from hidden states in chunks, against the log-softmax of all logits."""

import pytest
import torch

from hasse.stages.scoring.token_logps import Head, token_logps
from hasse.stages.train.memory import activation_bytes


def make(dtype=torch.float64, tokens=11, width=6, vocabulary=17):
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, width, dtype=dtype, requires_grad=True)
    bias = torch.randn(vocabulary, dtype=dtype, requires_grad=True)
    return hidden, weight, bias, torch.randint(0, vocabulary, (tokens,))


@pytest.mark.parametrize("how", [(1.0, None), (0.3, None), (1.0, 2.0), (0.3, 2.0)])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_values_and_gradients_are_those_of_the_whole(how, chunk):
    hidden, weight, bias, target = make()
    logits = (hidden @ weight.T + bias) * how[0]
    if how[1]:
        logits = (logits / how[1]).tanh() * how[1]
    expected = logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
    found = token_logps(hidden, Head(weight, bias, *how), target, chunk=chunk)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    incoming = torch.randn(len(target), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, (hidden, weight, bias), incoming),
        torch.autograd.grad(expected, (hidden, weight, bias), incoming),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_the_gradient_is_that_of_finite_differences():
    hidden, weight, bias, target = make(tokens=3, width=2, vocabulary=5)
    assert torch.autograd.gradcheck(
        lambda h, w, b: token_logps(h, Head(w, b, 0.7, 1.5), target, chunk=2), (hidden, weight, bias)
    )


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, _, target = make()
    weight.requires_grad_(False)
    token_logps(hidden, Head(weight), target, chunk=3).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_sums_are_made_in_float32_under_autocast():
    hidden, weight, _, target = make(torch.float32, tokens=40, width=64, vocabulary=500)
    exact = token_logps(hidden.double(), Head(weight.double()), target)
    with torch.autocast("cpu", torch.bfloat16):
        found = token_logps(hidden, Head(weight), target, chunk=7)
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 0.3
    found.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_the_logits_are_not_kept():
    """For backward there are the hidden states and a number a token, not tokens x vocabulary."""
    hidden, weight, _, target = make(torch.float32, tokens=64, width=8, vocabulary=4096)
    model = torch.nn.Linear(8, 4096)
    model.weight.data = weight.data

    def whole():
        return model(hidden).log_softmax(-1).gather(1, target[:, None])

    kept = activation_bytes(lambda: token_logps(hidden, Head(model.weight), target), model)
    assert kept < 64 * 1024
    assert activation_bytes(whole, model) > 64 * 4096 * 4


def test_the_gradient_of_bfloat16_weights_does_not_depend_on_the_chunks():
    hidden, weight, _, target = make(torch.bfloat16, tokens=1500, width=3, vocabulary=5)
    (whole,) = torch.autograd.grad(token_logps(hidden, Head(weight), target, chunk=1500).sum(), weight)
    (parts,) = torch.autograd.grad(token_logps(hidden, Head(weight), target, chunk=16).sum(), weight)
    assert parts.dtype == torch.bfloat16
    torch.testing.assert_close(parts, whole, rtol=0.01, atol=0.2)
