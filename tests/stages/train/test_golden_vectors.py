"""Golden vectors: the published ones, and fresh ones from formulas written down a second time, in plain Python."""

import json
import math
import random
from pathlib import Path

import pytest

from hasse.data.errors import SourceError
from hasse.stages.train.golden_vectors import LOSSES, check_file

PUBLISHED = Path(__file__).parents[2] / "golden_vectors.json"


def test_the_published_vectors_pass():
    checks = check_file(PUBLISHED)
    assert {check.loss for check in checks} == set(LOSSES)
    assert len(checks) > 400
    assert [check for check in checks if not check.ok] == []


def sigma(x):
    return 1 / (1 + math.exp(-x))


def logps(draw, longest=6):
    return [-draw.uniform(0.05, 3.0) for _ in range(draw.randint(1, longest))]


def rescue_case(draw):
    answers = [logps(draw) for _ in range(draw.randint(2, 6))]
    levels = [draw.choice([1, 2, 3]) for _ in answers]
    exponents = [draw.choice([1.0, 0.85, 0.5]) for _ in answers]
    alpha, margin, target = draw.uniform(0, 2), draw.uniform(0, 1), draw.randrange(len(answers))
    scale = [len(a) ** e for a, e in zip(answers, exponents, strict=True)]
    score = [sum(a) / n for a, n in zip(answers, scale, strict=True)]
    grad, ranking = [0.0] * len(answers), 0.0
    for i in range(len(answers)):
        for j in range(len(answers)):
            if levels[i] > levels[j] and margin - (score[i] - score[j]) > 0:
                ranking += margin - (score[i] - score[j])
                grad[i] -= alpha / scale[i]
                grad[j] += alpha / scale[j]
    grad[target] -= 1 / len(answers[target])
    loss = -sum(answers[target]) / len(answers[target]) + alpha * ranking
    return {
        "token_logps": answers, "levels": levels, "length_exponents": exponents, "alpha": alpha, "margin": margin,
        "target": target, "ranking_loss": ranking, "loss": loss, "grad": grad,
    }  # fmt: skip


def tuna_case(draw):
    answers, reference = [logps(draw) for _ in range(draw.randint(2, 5))], logps(draw)
    ranks = sorted(draw.choice(range(4)) for _ in answers)
    dense = {rank: i for i, rank in enumerate(sorted(set(ranks)))}
    ranks = [dense[rank] for rank in ranks]
    margin, weight, exponent = draw.uniform(0, 0.5), draw.uniform(0, 2), draw.choice([1.0, 0.7])
    scale = [len(a) ** exponent for a in answers]
    score = [sum(a) / n for a, n in zip(answers, scale, strict=True)]
    grad, ranking = [0.0] * len(answers), 0.0
    for i in range(len(answers)):
        for j in range(len(answers)):
            lack = score[j] - score[i] + margin * (ranks[j] - ranks[i])
            if ranks[i] < ranks[j] and lack > 0:
                ranking += lack
                grad[i] -= 1 / scale[i]
                grad[j] += 1 / scale[j]
    return {
        "token_logps": answers, "ranks": ranks, "reference_token_logps": reference, "margin": margin,
        "mle_weight": weight, "length_exponent": exponent, "ranking_loss": ranking,
        "loss": ranking - weight * sum(reference) / len(reference), "grad": grad,
        "grad_reference": -weight / len(reference),
    }  # fmt: skip


def minor_sft_case(draw):
    theta = logps(draw)
    reference = [value + draw.uniform(-0.5, 0.5) for value in theta]
    beta, m = draw.uniform(0.01, 1), len(theta)
    ratio = sum(theta) - sum(reference)
    weight = 2 * sigma(-beta * ratio)
    return {
        "token_logps": theta, "reference_token_logps": reference, "beta": beta, "weight": weight,
        "loss": -weight * sum(theta) / m, "loss_form_b": -2 / (beta * m) * math.log(sigma(beta * ratio)),
        "grad": -weight / m, "deviation": ratio / m,
    }  # fmt: skip


def minor_dpo_case(draw):
    chosen, rejected = -draw.uniform(1, 20), -draw.uniform(1, 20)
    chosen_reference, rejected_reference = chosen + draw.uniform(-3, 3), rejected + draw.uniform(-3, 3)
    beta = draw.uniform(0.01, 1)
    worse = rejected - rejected_reference
    lead = beta * (chosen - chosen_reference - max(0, worse))
    pull = beta * sigma(-lead)
    return {
        "chosen": chosen, "chosen_reference": chosen_reference, "rejected": rejected,
        "rejected_reference": rejected_reference, "beta": beta, "loss": -math.log(sigma(lead)),
        "grad_chosen": -pull, "grad_rejected": pull if worse > 0 else 0.0,
    }  # fmt: skip


def pit_gap_case(draw):
    r = {name: draw.uniform(-4, 4) for name in ("wl", "lw", "ww", "ll")}
    pairs = [("wl", "lw"), ("wl", "ww"), ("wl", "ll"), ("ww", "lw"), ("ll", "lw")]
    grad = dict.fromkeys(r, 0.0)
    for a, b in pairs:
        grad[a] -= sigma(r[b] - r[a])
        grad[b] += sigma(r[b] - r[a])
    return {"gap_rewards": r, "loss": -sum(math.log(sigma(r[a] - r[b])) for a, b in pairs), "grad": grad}


def pit_reward_case(draw):
    policy = logps(draw)
    anchor, gap, beta = [v + draw.uniform(-1, 1) for v in policy], draw.uniform(-3, 3), draw.uniform(0, 1)
    reward = gap - beta * (sum(policy) - sum(anchor))
    return {"gap_reward": gap, "token_logps": policy, "anchor_token_logps": anchor, "beta": beta, "reward": reward}


def laffi_case(draw):
    rows = [logps(draw, 8) for _ in range(draw.randint(1, 4))]
    masks = [[draw.randint(0, 1) for _ in row] for row in rows]
    masks[0][0] = 1
    count = sum(map(sum, masks))
    loss = -sum(v * k for row, mask in zip(rows, masks, strict=True) for v, k in zip(row, mask, strict=True)) / count
    return {"token_logps": rows, "mask": masks, "loss": loss, "grad": [[-k / count for k in mask] for mask in masks]}


CASES = {
    "rescue": rescue_case,
    "tuna": tuna_case,
    "minor_sft": minor_sft_case,
    "minor_dpo": minor_dpo_case,
    "pit_gap": pit_gap_case,
    "pit_reward": pit_reward_case,
    "laffi": laffi_case,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_fresh_vectors_pass(tmp_path, loss):
    draw = random.Random(f"fresh {loss}")
    path = tmp_path / "fresh.json"
    path.write_text(json.dumps({loss: [CASES[loss](draw) for _ in range(40)]}))
    checks = check_file(path)
    assert len(checks) >= 40
    assert [check for check in checks if not check.ok] == []


@pytest.mark.parametrize("loss", LOSSES)
def test_a_number_that_is_off_is_found(tmp_path, loss):
    case = CASES[loss](random.Random(3))
    field = "reward" if loss == "pit_reward" else "loss"
    case[field] += 2e-9
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({loss: [case]}))
    assert [check.field for check in check_file(path) if not check.ok] == [field]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be an object"),
        ("{", "cannot be read as JSON"),
        ('{"resque": []}', "unknown loss 'resque'"),
        ('{"rescue": [{"levels": [1, 2]}]}', "row 0.*token_logps"),
    ],
)
def test_another_shape_is_refused(tmp_path, text, message):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=f"(?s){message}"):
        check_file(path)
