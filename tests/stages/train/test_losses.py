"""The losses on plain tensors: by numbers worked on paper. tests/golden_vectors.json checks further cases."""

import math

import pytest
import torch
from pydantic import ValidationError

from hasse.data.settings import registry
from hasse.stages.scoring.batch import collate
from hasse.stages.train import losses
from hasse.stages.train.methods import rescue


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


LOGP, LENGTH = doubles(-4.0, -3.0, -6.0), torch.tensor([4, 2, 3])
REFERENCE = doubles(-4.5, -3.5, -5.0)


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_every_method_with_a_loss_has_a_function():
    methods = {n: registry.load("hasse.stages.train.methods", n, kind="method") for n in
               registry.names("hasse.stages.train.methods")}  # fmt: skip
    with_loss = {name for name, module in methods.items() if hasattr(module, "loss")}
    assert {name for name in with_loss if not hasattr(losses, name)} == {"best_of_k"}, "which is sft on another target"


def test_sft_and_its_relatives_are_means_over_prompts():
    loss, means = losses.sft(LOGP, LENGTH)
    assert loss.item() == pytest.approx((1.0 + 1.5 + 2.0) / 3)
    assert means == {"sft": pytest.approx(1.5)}
    loss, means = losses.dpo_sft(LOGP, LENGTH, reference_logp_N=REFERENCE, beta=0.5)
    ratios = [0.5, 0.5, -1.0]
    assert loss.item() == pytest.approx(-sum(log_sigmoid(0.5 * r) for r in ratios) / 3)
    assert means["deviation"] == pytest.approx((0.5 / 4 + 0.5 / 2 - 1 / 3) / 3)
    loss, means = losses.minor_sft(LOGP, LENGTH, reference_logp_N=REFERENCE, beta=0.0)
    assert loss.item() == pytest.approx(1.5)
    assert means["weight"] == pytest.approx(1)


def test_rescue_over_two_prompts():
    # Means a token are -1, -1.5 and -2, -0.5. The first prompt's pair is in order, the second's is not.
    logp = doubles(-4.0, -3.0, -6.0, -1.0).requires_grad_()
    loss, means = losses.rescue(
        logp,
        torch.tensor([4, 2, 3, 2]),
        pairs_P2=torch.tensor([[0, 1], [2, 3]]),
        target_B=torch.tensor([0, -1]),
        prompt_N=torch.tensor([0, 0, 1, 1]),
        alpha=0.2,
    )
    assert loss.item() == pytest.approx((1.0 + 0.2 * 1.5) / 2)
    assert means == {"sft": pytest.approx(1.0), "rank": pytest.approx(0.75), "violations": pytest.approx(0.5)}
    loss.backward()
    assert logp.grad.tolist() == pytest.approx([-1 / 8, 0, -0.1 / 3, 0.1 / 2])


def test_dpo_and_minor_dpo_are_means_over_pairs():
    pairs = torch.tensor([[0, 1], [0, 2]])
    loss, means = losses.dpo(LOGP, reference_logp_N=REFERENCE, pairs_P2=pairs, beta=0.5)
    assert loss.item() == pytest.approx(-(log_sigmoid(0) + log_sigmoid(0.75)) / 2)
    assert means["accuracy"] == 0.5
    loss, _ = losses.minor_dpo(LOGP, reference_logp_N=REFERENCE, pairs_P2=pairs, beta=0.5)
    assert loss.item() == pytest.approx(-(log_sigmoid(0) + log_sigmoid(0.25)) / 2)


def test_tuna_counts_the_pairs_of_each_gap_as_the_authors_do():
    # Means a token are -1, -1.5, -2 and ranks 2, 1, 0, so all pairs are out of order.
    asked = {"pairs_P2": torch.tensor([[2, 0], [2, 1], [1, 0]]), "rank_N": torch.tensor([2, 1, 0])}
    hinges = {(2, 0): 1.2, (2, 1): 0.6, (1, 0): 0.6}
    loss, _ = losses.tuna(LOGP, LENGTH, **asked, target_B=torch.tensor([0]), margin=0.1)
    assert loss.item() == pytest.approx(sum(hinges.values()) + 1.0)
    loss, _ = losses.tuna(
        LOGP, LENGTH, **asked, target_B=torch.tensor([0]), margin=0.1, rank_reduction="mean_per_gap",
        mle_target="all_candidates",
    )  # fmt: skip
    assert loss.item() == pytest.approx(1.2 + 0.6 + 13 / 9)


def test_laffi_is_the_mean_over_tokens():
    loss, means = losses.laffi(doubles(-1.0, -2.0, -0.5))
    assert loss.item() == pytest.approx(3.5 / 3)
    assert means["feedback"] == pytest.approx(3.5 / 3)


def test_gap_reward_is_a_mean_over_triples():
    loss, means = losses.gap_reward(doubles([2.0, -1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]))
    first = sum(-log_sigmoid(x) for x in (3.0, 1.5, 2.0, 1.5, 1.0))
    assert loss.item() == pytest.approx((first + 5 * math.log(2)) / 2)
    assert means["accuracy"] == 0.5


def test_completions_are_what_training_gives_to_a_loss(make_example):
    example = make_example([5], [[7] * 4, [7] * 2, [7] * 3], pairs=[(0, 1), (2, 1)], target=2)
    policy, batch = losses.completions(
        LOGP, LENGTH, pairs_P2=torch.tensor([[0, 1], [2, 1]]), target_B=torch.tensor([2])
    )
    settings = rescue.Settings(alpha=0.7, margin=0.3)
    ours, _ = rescue.loss(policy, batch, settings)
    theirs, _ = rescue.loss(policy, collate([example]), settings)
    assert ours.item() == theirs.item()


def test_a_setting_that_the_method_does_not_have_is_refused():
    with pytest.raises(ValidationError, match="apha"):
        losses.rescue(LOGP, LENGTH, pairs_P2=torch.tensor([[0, 1]]), target_B=torch.tensor([0]), apha=1)
