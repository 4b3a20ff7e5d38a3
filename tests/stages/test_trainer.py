import copy
import json
import shutil

import pytest
import torch

from data.errors import WorkError
from stages.methods import rescue, sft
from stages.optimiser import OptimiserSettings
from stages.trainer import Schedule, fit, last_checkpoint, micro_batches


@pytest.fixture
def examples(make_example):
    return [
        make_example([1, 4 + i], [[5 + i, 2], [9, 9, 2], [10, 2]], pairs=[(0, 1), (2, 1)], target=0, prompt_id=f"p{i}")
        for i in range(12)
    ]


class Interrupted(Exception):
    pass


def train(model, examples, folder, *, stop_after=None, method=rescue, seed=0, **changes):
    def on_step(step, total):
        if step == stop_after:
            raise Interrupted

    settings = OptimiserSettings(
        **{"steps": 12, "prompts_per_step": 4, "learning_rate": 1e-2, "save_steps": 4, **changes}
    )
    points = fit(
        model,
        examples,
        method=method,
        method_settings=method.Settings(),
        settings=settings,
        seed=seed,
        folder=folder,
        on_step=on_step,
    )
    return {(p.step, p.metric): p.value for p in points}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(tiny_model, examples, tmp_path):
    whole, parts, resumed = (copy.deepcopy(tiny_model) for _ in range(3))
    expected = train(whole, examples, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(parts, examples, tmp_path / "parts", stop_after=7)
    found = train(resumed, examples, tmp_path / "parts")
    assert found == expected
    assert torch.equal(weights(whole), weights(resumed))
    assert {step for step, _ in found} == set(range(1, 13))


def test_a_checkpoint_that_was_not_written_whole_is_passed_over(tiny_model, examples, tmp_path):
    with pytest.raises(Interrupted):
        train(copy.deepcopy(tiny_model), examples, tmp_path / "a", stop_after=9)
    newest = last_checkpoint(tmp_path / "a")
    assert newest is not None
    assert newest.endswith("checkpoint-8")
    (tmp_path / "a" / "checkpoint-8" / "trainer_state.json").write_text('{"global_st')
    assert str(last_checkpoint(tmp_path / "a")).endswith("checkpoint-4")
    shutil.rmtree(tmp_path / "a")
    assert last_checkpoint(tmp_path / "a") is None


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_the_micro_batch_budget_changes_memory_and_nothing_else(tiny_model, examples, tmp_path, budget):
    reference, cut = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    expected = train(reference, examples, tmp_path / "a", steps=3)
    found = train(cut, examples, tmp_path / "b", steps=3, micro_batch_tokens=budget)
    assert found == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(weights(cut), weights(reference), rtol=1e-3, atol=1e-4)


def test_micro_batches_keep_under_the_budget_and_lose_nothing(examples):
    parts = list(micro_batches(examples, 35))
    assert [len(part) for part in parts] == [2] * 6
    assert [e for part in parts for e in part] == examples


def test_every_epoch_uses_every_example_once_in_an_order_of_its_own(examples):
    ids = [example.prompt_id for example in Schedule(examples, num_slots=30, seed=3)]
    assert set(ids[:12]) == set(ids[12:24]) == {e.prompt_id for e in examples}
    assert ids[:12] != ids[12:24]
    assert ids == [example.prompt_id for example in Schedule(examples, num_slots=30, seed=3)]
    assert ids != [example.prompt_id for example in Schedule(examples, num_slots=30, seed=4)]


def test_the_log_holds_the_methods_metrics(tiny_model, examples, tmp_path):
    points = train(tiny_model, examples, tmp_path, steps=2)
    assert {metric for _, metric in points} >= {"loss", "sft", "rank", "violations", "learning_rate", "grad_norm"}
    assert 0 <= points[1, "violations"] <= 1
    assert points[1, "loss"] == pytest.approx(points[1, "sft"] + 0.1 * points[1, "rank"], rel=1e-4)
    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert len(state["log_history"]) == 2


def test_sft_lowers_the_loss(tiny_model, examples, tmp_path):
    singles = [s for e in examples if (s := sft.prepare(e, sft.Settings())) is not None]
    points = train(tiny_model, singles, tmp_path, method=sft, steps=30)
    assert points[30, "loss"] < points[1, "loss"] / 2


def test_a_loss_that_is_not_finite_stops_the_run(tiny_model, examples, tmp_path):
    with torch.no_grad():
        next(tiny_model.parameters()).fill_(float("nan"))
    with pytest.raises(WorkError, match="loss of step 1 is nan; try a lower learning_rate"):
        train(tiny_model, examples, tmp_path, steps=2)
