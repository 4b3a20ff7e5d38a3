"""Runs that the server starts: forms that name a wrong field, paths that stay inside, Retry, cancel, keys."""

import copy
import json
import os
import signal
import time

import pytest

from hasse.flows.server.deployments import FLOWS
from hasse.flows.server.slots import GPU, TEACHER
from tests.flows.prefect_up import ENDED, Up
from tests.stages.chat_server import GOOD, ChatServer

JUDGED = ("prompts", "student", "generate")


def settings(up, **changes):
    """The tiny recipe as its form has it, with other values at dotted places."""
    recipe = copy.deepcopy(up.deployments()["tiny"]["parameters"]["recipe"])
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        section = recipe
        for key in path:
            section = section[key]
        section[last] = value
    return recipe


def limits(up):
    return {limit["name"]: limit for limit in up.api("/v2/concurrency_limits/filter", {})}


def test_every_recipe_is_a_deployment_whose_form_is_filled(up):
    found = up.deployments()
    assert {"tiny", "rescue-demo", "sweep", "evaluate", "prune"} <= set(found)
    arms = found["rescue-demo"]["parameters"]["recipe"]["train"]["arms"]
    assert [arm["name"] for arm in arms] == ["sft", "best-of-k", "rescue"]
    assert (arms[2]["method"]["method"], arms[2]["method"]["alpha"]) == ("rescue", 0.3)
    assert found["rescue-demo"]["parameters"]["store"] == str(up.store)
    assert found["rescue-demo"]["description"].startswith("Expert answers for few prompts")
    assert found["sweep"]["description"].startswith("Run a recipe once for each")
    assert all(found[name]["enforce_parameter_schema"] for name in found)
    ours = {name: limit["limit"] for name, limit in limits(up).items() if not name.startswith("deployment:")}
    assert ours == {GPU: 1, TEACHER: 1}
    (automation,) = up.api("/automations/filter", {})
    assert automation["trigger"]["match_related"]["prefect.resource.name"] == [flow.name for flow in FLOWS]
    assert automation["trigger"]["within"] == 120


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train__steps": "many"}, "recipe.train.steps"),
        (
            {"generate__groups": [{"sampler": "transformers", "temperature": -1}]},
            "recipe.generate.groups[0].temperature",
        ),
        ({"train__arms": [{"name": "a", "method": {"method": "rescue", "alpha": -1}}]}, "arms[0].method.alpha"),
        ({"source__noise": 3}, "recipe.source.noise"),
        ({"train__steps": 2**70}, "recipe.train.steps"),
        ({"train__seeds": [2**70]}, "recipe.train.seeds[0]"),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(up, change, named):
    deployment = up.deployments()["tiny"]
    body = {"parameters": {"recipe": settings(up, **change)}, "state": {"type": "SCHEDULED"}}
    assert named in up.refusal(f"/deployments/{deployment['id']}/create_flow_run", body)
    assert isinstance(up.api("/flow_runs/filter", {"limit": 1}), list)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        (lambda up: {"store": "/etc/hasse"}, "store: '/etc/hasse' lies outside"),
        (
            lambda up: {"recipe": settings(up, student={"model": "../../../etc"})},
            "recipe.student.model: '../../../etc' lies outside",
        ),
    ],
)
def test_a_run_from_the_server_stays_below_the_roots(up, parameters, named):
    run = up.until(up.start("tiny", **parameters(up)), *ENDED)
    assert run["state_type"] == "FAILED"
    assert named in run["state"]["message"]


def test_retry_finds_what_is_done_and_computes_the_rest(up, tmp_path):
    verdicts = tmp_path / "verdicts.jsonl"
    verdicts.write_text(json.dumps({"prompt_id": "nobody", "candidate_id": "human-0", "total": 1.0}) + "\n")
    recipe = settings(up, judge={"teacher": "recorded", "path": str(verdicts)}, order={"strategy": "scores"})
    store = tmp_path / "store"
    run_id = up.start("tiny", recipe=recipe, store=str(store))
    run = up.until(run_id, *ENDED)
    assert run["state_type"] == "FAILED", run["state"]["message"]
    assert up.tasks(run_id, 4) == {**dict.fromkeys(JUDGED, "Completed"), "judge": "Failed"}

    from hasse.data.records import Candidate
    from hasse.pipeline.store import Store

    rows = [
        {"prompt_id": c.prompt_id, "candidate_id": c.candidate_id, "total": float(c.candidate_id == "human-0")}
        for c in Store(store).resolve("generate").records(Candidate)
    ]
    verdicts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    up.api(f"/flow_runs/{run_id}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}})
    up.until(run_id, "RUNNING", "COMPLETED")
    run = up.until(run_id, *ENDED)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["run_count"] == 2
    latest = up.tasks(run_id, 12)
    assert {name for name, state in latest.items() if state == "Cached"} == set(JUDGED)


def test_a_cancelled_run_leaves_no_process_and_no_slot(up, tmp_path):
    before = set(up.marked())
    recipe = settings(up, train__steps=100000)
    run_id = up.start("tiny", recipe=recipe, store=str(tmp_path / "store"))
    end = time.monotonic() + 120
    while not list((tmp_path / "store").glob("train/.work-*/**/checkpoint-*")):
        assert time.monotonic() < end, up.logs()
        time.sleep(0.3)
    assert limits(up)[GPU]["active_slots"] == 1
    assert len(set(up.marked()) - before) >= 2
    up.api(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    assert up.until(run_id, *ENDED)["state_type"] == "CANCELLED"
    end = time.monotonic() + 60
    while left := {pid: line for pid, line in up.marked().items() if pid not in before}:
        assert time.monotonic() < end, left
        time.sleep(0.3)
    end = time.monotonic() + 90
    while limits(up)[GPU]["active_slots"]:
        assert time.monotonic() < end, "the slot is still taken"
        time.sleep(0.5)


@pytest.mark.slow
def test_a_key_from_a_secret_block_is_used_and_shown_nowhere(up, tmp_path):
    key = "sk-of-the-test-0123456789"
    (kind,) = up.api("/block_types/filter", {"block_types": {"slug": {"any_": ["secret"]}}})
    (schema, *_) = up.api("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})
    block = {"block_type_id": kind["id"], "block_schema_id": schema["id"], "data": {"value": key}}
    up.api("/block_documents/", {**block, "name": "hasse-test-key"})
    with ChatServer(lambda asked: GOOD) as server:
        chat = {"model": "m", "base_url": server.url, "api_key_variable": "HASSE_TEST_KEY", "max_retries": 0}
        recipe = settings(up, judge={"teacher": "openai", "chat": {**chat, "prices": {"m": {"free": True}}}})
        run_id = up.start("tiny", recipe=recipe, store=str(tmp_path / "store"), only=None)
        run = up.until(run_id, *ENDED)
        authorised = {asked.headers.get("authorization", asked.headers.get("Authorization")) for asked in server.asked}
    assert authorised == {f"Bearer {key}"}, run["state"]["message"]
    said = json.dumps([up.api("/logs/filter", {"limit": 200}), up.api("/artifacts/filter", {"limit": 200}), run])
    assert key not in said + up.logs()
    for path in (tmp_path / "store").rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_sweep_and_an_evaluation_run_from_the_server(up, tmp_path):
    store = str(tmp_path / "store")
    run = up.until(up.start("sweep", recipe=settings(up), over=["order.strategy=hp,lp"], store=store), *ENDED)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert list((tmp_path / "store" / "sweeps").glob("tiny-*.html"))
    recorded = [json.loads(path.read_text()) for path in (tmp_path / "store" / "runs").glob("*.json")]
    assert [run["status"] for run in recorded] == ["done", "done"]

    changed = {"split": "validation", "max_tokens": 8}
    run_id = up.start("evaluate", run=recorded[0]["how"]["flow_run"], evaluate=changed, store=store)
    run = up.until(run_id, *ENDED)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    found = up.tasks(run_id, 4)
    assert set(found) == {"evaluate/student", "evaluate/sft/seed-0", "evaluate/rescue/seed-0", "report"}
    assert set(found.values()) == {"Completed"}


@pytest.mark.slow
def test_a_killed_run_is_crashed_and_its_slot_is_free(up, tmp_path):
    before = set(up.marked())
    run_id = up.start("tiny", recipe=settings(up, train__steps=100000), store=str(tmp_path / "store"))
    end = time.monotonic() + 120
    while not list((tmp_path / "store").glob("train/.work-*/**/checkpoint-*")):
        assert time.monotonic() < end, up.logs()
        time.sleep(0.3)
    serving = next(pid for pid, line in up.marked().items() if "hasse.flows.cli.main serve" in line and pid in before)
    os.kill(serving, signal.SIGSTOP)  # the host is gone: nobody is left to tell the server
    for pid in set(up.marked()) - before:
        os.kill(pid, signal.SIGKILL)
    try:
        assert up.until(run_id, *ENDED, seconds=300)["state_type"] == "CRASHED"
        end = time.monotonic() + 120
        while limits(up)[GPU]["active_slots"]:
            assert time.monotonic() < end, "the slot is still taken"
            time.sleep(1)
    finally:
        os.kill(serving, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_up_is_stopped_in_the_middle_of_a_run(tmp_path, number, hasse):
    started = Up(tmp_path / "up", tmp_path, "--recipe", str(hasse.recipe))
    try:
        started.wait(deployments=4).start("tiny", recipe=settings(started, train__steps=100000))
        end = time.monotonic() + 120
        while not list(started.store.glob("train/.work-*/**/checkpoint-*")):
            assert time.monotonic() < end, started.logs()
            time.sleep(0.3)
    finally:
        started.stop(number)
    end = time.monotonic() + 60
    while left := started.marked():
        assert time.monotonic() < end, left
        time.sleep(0.5)
