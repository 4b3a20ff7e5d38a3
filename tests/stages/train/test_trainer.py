import copy
import json
import shutil

import pytest
import torch

from hasse.data.errors import InputError, WorkError
from hasse.stages.models.load import set_dropout
from hasse.stages.train import fit as fitting
from hasse.stages.train import trainer as trainer_module
from hasse.stages.train.fit import fit
from hasse.stages.train.methods import rescue, sft
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.passes import Plan, apply_liger, compile_body
from hasse.stages.train.trainer import Schedule
from hasse.stages.train.whole_checkpoints import last_checkpoint


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
    points, _ = fit(
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


@pytest.mark.parametrize("layout", ["shared", "packed", "padded"])
@pytest.mark.parametrize(
    "changes", [{}, {"passes": "two"}, {"micro_batch_tokens": 9}, {"passes": "one", "micro_batch_tokens": 9}]
)
def test_layouts_and_passes_change_time_and_memory_and_nothing_else(tiny_model, ragged, tmp_path, layout, changes):
    naive, other = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    expected = train(naive, ragged, tmp_path / "a", steps=3, layout="padded", passes="one")
    found = train(other, ragged, tmp_path / "b", steps=3, layout=layout, **changes)
    assert found == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(weights(other), weights(naive), rtol=1e-3, atol=1e-4)


@pytest.fixture
def ragged(make_example):
    """Prompts and answers of many lengths, two thirds of the candidates of no consequence."""
    return [
        make_example(
            [1, *[4 + i] * (1 + i % 5)],
            [[5 + i, 2], [9] * (1 + i % 3) + [2], [10, 11, 2], [12, 2], [13, 14, 15, 16, 2]],
            pairs=[(0, 1)],
            target=0,
            prompt_id=f"p{i}",
        )
        for i in range(12)
    ]


def test_two_passes_leave_out_what_has_no_gradient(tiny_model, ragged, tmp_path, monkeypatch):
    passed = []
    outputs = trainer_module.outputs_of

    def counted(model, batch, layout, *, is_reward):
        passed.append((len(batch.completion_ids), torch.is_grad_enabled()))
        return outputs(model, batch, layout, is_reward=is_reward)

    monkeypatch.setattr(trainer_module, "outputs_of", counted)
    points = train(tiny_model, ragged, tmp_path, steps=1, passes="two")
    assert sum(n for n, with_graph in passed if not with_graph) == 4 * 5
    assert sum(n for n, with_graph in passed if with_graph) == round(points[1, "active"] * 4 * 5) <= 4 * 2


def test_two_passes_are_taken_where_few_answers_have_a_gradient(tiny_model, ragged, tmp_path):
    fit_and_log = train(tiny_model, ragged, tmp_path, steps=14, save_steps=14)
    assert max(value for (_, metric), value in fit_and_log.items() if metric == "active") <= 0.4
    history = json.loads((tmp_path / "checkpoint-14" / "trainer_state.json").read_text())["log_history"]
    assert [entry["passes"] for entry in history] == [1.0] * 10 + [2.0] * 4


def test_a_stopped_run_goes_on_in_the_middle_of_two_passes(tiny_model, ragged, tmp_path):
    whole, parts, resumed = (copy.deepcopy(tiny_model) for _ in range(3))
    changes = {"steps": 14, "micro_batch_tokens": 40}
    expected = train(whole, ragged, tmp_path / "whole", **changes)
    with pytest.raises(Interrupted):
        train(parts, ragged, tmp_path / "parts", stop_after=13, **changes)
    assert train(resumed, ragged, tmp_path / "parts", **changes) == expected
    assert torch.equal(weights(whole), weights(resumed))


def test_a_resumed_run_keeps_to_its_plan(tiny_model, examples, tmp_path):
    with pytest.raises(Interrupted):
        train(copy.deepcopy(tiny_model), examples, tmp_path, stop_after=9, layout="packed")
    train(tiny_model, examples, tmp_path, layout="padded")
    assert Plan.read(tmp_path).layout == "packed"


OTHER_SETTINGS = {
    "steps": 5,
    "epochs": 2.0,
    "prompts_per_step": 3,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup": 0.9,
    "weight_decay": 0.5,
    "adam_beta1": 0.5,
    "adam_beta2": 0.5,
    "max_grad_norm": 0.1,
    "dropout": 0.5,
}
EXACT = {
    "memory_gib": 0.01,
    "gradient_checkpointing": True,
    "layout": "packed",
    "passes": "two",
    "micro_batch_tokens": 20,
    "save_steps": 1,
}
REFUSED = {"precision": "bfloat16", "liger": True}


def test_every_setting_of_the_optimiser_is_here():
    assert set(OptimiserSettings.model_fields) == {*OTHER_SETTINGS, *EXACT, *REFUSED, "compile"}


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_a_setting_of_the_optimiser_changes_the_run(tiny_model, examples, tmp_path, name):
    base = {"steps": None} if name == "epochs" else {"steps": 4}
    changes = {**base, name: OTHER_SETTINGS[name]}
    default, other = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    for model in (default, other):
        set_dropout(model, changes.get("dropout", 0.0) if model is other else 0.0)
    found = train(default, examples, tmp_path / "a", **base), train(other, examples, tmp_path / "b", **changes)
    assert found[0] != found[1]
    assert not torch.allclose(weights(default), weights(other), atol=1e-5)


@pytest.mark.parametrize("name", EXACT)
def test_a_setting_of_time_and_memory_does_not(tiny_model, examples, tmp_path, name):
    default, other = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    expected = train(default, examples, tmp_path / "a", steps=4)
    assert train(other, examples, tmp_path / "b", steps=4, **{name: EXACT[name]}) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(weights(other), weights(default), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_cannot_be_honoured_here_is_refused(name):
    with pytest.raises(ValueError, match=name):
        OptimiserSettings(**{name: REFUSED[name]})


def test_liger_that_is_not_there_is_asked_for(tiny_model):
    with pytest.raises(InputError, match=r"pip install 'hasse-llm\[liger\]'"):
        apply_liger(tiny_model)


def test_a_model_that_cannot_be_compiled_is_trained_without(tiny_model, monkeypatch):
    def fail():
        raise RuntimeError("no compiler")

    with pytest.warns(UserWarning, match="training goes on without it: RuntimeError: no compiler"):
        assert not compile_body(tiny_model, fail)
    assert tiny_model.model._compiled_call_impl is None


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
    assert all(entry["mfu"] > 0 and entry["useful_tokens_per_second"] > 0 for entry in state["log_history"])
    assert not {"mfu", "useful_tokens_per_second"} & {metric for _, metric in points}
    assert list((tmp_path).rglob("events.out.tfevents.*"))


def test_sft_lowers_the_loss(tiny_model, examples, tmp_path):
    singles = [s for e in examples if (s := sft.prepare(e, sft.Settings())) is not None]
    points = train(tiny_model, singles, tmp_path, method=sft, steps=30)
    assert points[30, "loss"] < points[1, "loss"] / 2


def test_a_loss_that_is_not_finite_stops_the_run(tiny_model, examples, tmp_path):
    with torch.no_grad():
        next(tiny_model.parameters()).fill_(float("nan"))
    with pytest.raises(WorkError, match="loss of step 1 is nan; try a lower learning_rate"):
        train(tiny_model, examples, tmp_path, steps=2)


def test_a_sharded_training_goes_on_sharded_alone(tiny_model, examples, tmp_path):
    with pytest.raises(Interrupted):
        train(copy.deepcopy(tiny_model), examples, tmp_path, stop_after=5)
    (tmp_path / "checkpoint-4" / "pytorch_model_fsdp_0").mkdir()
    with pytest.raises(
        InputError,
        match=r"began with launch.fsdp and cannot resume otherwise; run with it",
    ):
        train(tiny_model, examples, tmp_path)


def test_a_reward_model_in_padded_rows_is_trained_by_one_process(monkeypatch):
    padded, shared = (Plan(layout, "as asked", "auto", 64, False, 0) for layout in ("padded", "shared"))
    fitting._check_reward_layout(padded, is_reward=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    fitting._check_reward_layout(shared, is_reward=True)
    fitting._check_reward_layout(padded, is_reward=False)
    with pytest.raises(InputError, match="trains in one process only"):
        fitting._check_reward_layout(padded, is_reward=True)
