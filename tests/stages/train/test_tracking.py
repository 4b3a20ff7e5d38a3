"""Trainings seen by trackers: project, run and curve arrive in the tracker's own files, without a network."""

import copy
import json
import os
import sqlite3
from importlib.util import find_spec

import pytest

from hasse.data.settings import key_of
from hasse.stages.train.fit import estimate, fit
from hasse.stages.train.methods import sft
from hasse.stages.train.optimiser import OptimiserSettings
from hasse.stages.train.settings import TrainSettings
from hasse.stages.train.tracking import PROJECT_VARIABLES, TrackingSettings

STEPS = 2


def needs(package):
    reason = f"{package} is not installed; pip install 'hasse-llm[tracking]'"
    return pytest.mark.skipif(find_spec(package) is None, reason=reason)


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No tracker writes outside the test's folder or asks a server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for variable in PROJECT_VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def train(tiny_model, make_example, tmp_path):
    """Train for two steps; returns metric -> its values in the curve."""

    def train(*trackers, run="sft-seed-0", fails=False):
        def on_step(step, total):
            if fails:
                raise Stopped

        examples = [make_example([1, 4 + i], [[5 + i, 2]], target=0, prompt_id=f"p{i}") for i in range(4)]
        points, _ = fit(
            copy.deepcopy(tiny_model),
            examples,
            method=sft,
            method_settings=sft.Settings(),
            settings=OptimiserSettings(steps=STEPS, prompts_per_step=2),
            seed=0,
            folder=tmp_path / "trainer" / run,
            on_step=on_step,
            tracking=TrackingSettings(trackers=trackers, project="mine", run=run),
        )
        return {metric: [p.value for p in points if p.metric == metric] for metric in {p.metric for p in points}}

    return train


def test_trackers_are_in_no_key():
    def key(*trackers):
        how = {"method": sft.Settings(), "optimiser": OptimiserSettings(), "seed": 0}
        return key_of(TrainSettings(**how, tracking=TrackingSettings(trackers=trackers, project="p", run="r")))

    assert key() == key("wandb", "mlflow") == key("tensorboard")


def test_without_a_tracker_nothing_is_written(train, tmp_path):
    curve = train()
    assert len(curve["loss"]) == STEPS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trainer"]
    assert list((tmp_path / "trainer").rglob("events.out.*")) == []


def test_an_estimate_is_tracked_nowhere(tiny_model, make_example, tmp_path):
    examples = [make_example([1, 4 + i], [[5 + i, 2]], target=0, prompt_id=f"p{i}") for i in range(4)]
    how = {"method": sft, "method_settings": sft.Settings(), "settings": OptimiserSettings(prompts_per_step=2)}
    estimate(tiny_model, examples, **how, seed=0, folder=tmp_path / "estimate", num_steps=2)
    assert list((tmp_path / "estimate").rglob("events.out.*")) == []


@pytest.mark.slow
@needs("mlflow")
@pytest.mark.parametrize("scheme", ["sqlite", "file"])
def test_mlflow_has_the_curve_without_a_server(train, tmp_path, monkeypatch, scheme):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}:///{tmp_path}/tracked")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # files are for those who have them; the default is sqlite
    expected = train("mlflow")["loss"]
    from mlflow import MlflowClient

    client = MlflowClient()
    (experiment,) = [found for found in client.search_experiments() if found.name == "mine"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("sft-seed-0", "FINISHED")
    assert run.data.params["max_steps"] == str(STEPS)
    points = sorted(client.get_metric_history(run.info.run_id, "loss"), key=lambda point: point.step)
    assert [point.value for point in points] == pytest.approx(expected)
    with pytest.raises(Stopped):
        train("mlflow", run="sft-seed-1", fails=True)
    found = {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert found == {"sft-seed-0": "FINISHED", "sft-seed-1": "FAILED"}
    assert "MLFLOW_EXPERIMENT_NAME" not in os.environ


@pytest.mark.slow
@needs("wandb")
def test_wandb_has_a_run_for_each_training_offline(train, tmp_path):
    import wandb

    train("wandb")
    train("wandb", run="sft-seed-1")
    assert wandb.run is None
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    for folder, name in zip(folders, ("sft-seed-0", "sft-seed-1"), strict=True):
        (file,) = folder.glob("run-*.wandb")
        content = file.read_bytes()
        assert name.encode() in content
        assert b"mine" in content
        assert b"train/loss" in content


@needs("trackio")
def test_trackio_has_the_curve_in_its_database_and_prints_nothing_to_standard_output(train, tmp_path, capsys):
    expected = train("trackio")["loss"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Trackio project initialized: mine" in printed.err
    (file,) = (tmp_path / "trackio").glob("mine*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select run_name, metrics from metrics order by step").fetchall()
    assert {run for run, _ in rows} == {"sft-seed-0"}
    losses = [json.loads(metrics)["train/loss"] for _, metrics in rows if "train/loss" in json.loads(metrics)]
    assert losses == pytest.approx(expected)


def test_a_project_of_the_environment_stays(train, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    from hasse.stages.train.tracking import tracked

    with tracked(TrackingSettings(trackers=("mlflow",), project="mine", run="r")):
        assert os.environ["MLFLOW_EXPERIMENT_NAME"] == "mine"
        assert os.environ["WANDB_PROJECT"] == "theirs"
    assert "MLFLOW_EXPERIMENT_NAME" not in os.environ
