"""Kill -9 at random moments of a whole run, and start it again: what comes out is what the undisturbed run gave.

Compared are the tables of every step, row for row, models bit for bit, all other files that are content byte for byte,
and the numbers of the report. Not compared is what tells of time or cost, which kills do change: of a manifest
`created`, `seconds`, `cost_usd`, and of its metrics `cost` (requests, among them those asked again) and `units_found`
and `units_computed` (what one try found in the store); of the report its page, which shows these; and logs.
"""

import os
import random
import uuid
from collections import Counter
from itertools import cycle

import pyarrow.parquet as pq
import pytest
import yaml

from hasse.flows.plan.steps import plan
from hasse.flows.recipe.recipe import load_recipe, shipped_recipes
from hasse.pipeline.store import Store
from hasse.stages.chat.settings import VARIABLE
from tests.flows.faults import Bill, Blow, Endpoint, Flow, Served, Typed, moments, strike, until_gone
from tests.flows.prefect_up import ROOT, Up

OF_TIME_AND_COST = {"cost", "units_found", "units_computed"}
KEY = "sk-live-0123456789abcdef"
SEED = int(os.environ.get("HASSE_FAULT_SEED", random.SystemRandom().randrange(10**6)))
DELAY = 0.2
CHAT = {
    "model": "m",
    "api_key_variable": "CHAT_KEY",
    "prices": {"m": {"input": 1, "output": 1000}},
    "concurrency": 4,
}


def recipe_of(url):
    """The demo made smaller, with an endpoint that answers and judges, and an arm that needs the reference."""
    values = yaml.safe_load((ROOT / "flows/recipes/rescue-demo.yaml").read_text())
    chat = {**CHAT, "base_url": url}
    values["name"] = "fault-plan"
    values["source"] |= {"num_pretrain": 1200, "num_train": 96, "num_validation": 40, "num_test": 100}
    values["prompts"] |= {"num_expert": 40}
    values["student"]["scratch"] |= {"hidden_size": 48}
    values["student"]["scratch"]["optimiser"] |= {"steps": 160, "save_steps": 10}
    sampled = {"num_samples": 2, "max_tokens": 40}
    values["generate"] = {
        "groups": [
            {"sampler": "dataset"},
            {"sampler": "transformers", **sampled},
            {"sampler": "openai", **sampled, **chat},
        ],
        "chunk_size": 32,
    }
    values["judge"] = {"teacher": "openai", "chat": {**chat, "max_tokens": 60}, "chunk_size": 16}
    values["order"] = {"strategy": "scores"}
    arms = {"rescue": {"method": "rescue", "alpha": 0.3, "margin": 0.2}, "dpo": {"method": "dpo"}}
    values["train"] |= {"seeds": [0], "steps": 60, "save_steps": 5, "overrides": {}, "arms": arms}
    values["evaluate"] |= {"max_tokens": 40}
    values["report"] = {"baselines": ["student", "rescue"], "num_resamples": 500}
    return values


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", KEY)
    monkeypatch.delenv(VARIABLE, raising=False)


def flow_of(recipe, store, expected):
    """Of the recipe's file; it goes through the steps of `expected`, in that order."""
    steps = plan(load_recipe(str(recipe), []))
    with_child = frozenset(i for i, step in enumerate(steps) if step.stage.in_child)
    names = [step.name for step in steps]
    assert names == list(expected)
    return Flow(store=store, names=names, with_child=with_child)


def artifacts(store, steps):
    return {step["step"]: Store(store).artifact(step["ref"]) for step in steps}


def same(found, expected):
    """Two runs of one recipe, as step -> artifact."""
    assert {name: a.ref for name, a in found.items()} == {name: a.ref for name, a in expected.items()}
    for name, artifact in found.items():
        assert artifact.problems(full=True) == []
        here, there = artifact.manifest, expected[name].manifest
        assert (here.identity == there.identity) or here.stage == "report", name
        assert (here.key, here.counts, here.inputs) == (there.key, there.counts, there.inputs), name
        assert metrics(here) == metrics(there), name
        files = [{file for file, entry in m.files.items() if entry.content} for m in (here, there)]
        assert files[0] == files[1], name
        for file in files[0] - {"report.html"}:
            paths = artifact.file(file), expected[name].file(file)
            if file.endswith(".parquet"):
                tables = [pq.read_table(path) for path in paths]
                assert tables[0].equals(tables[1], check_metadata=True), f"{name}: {file}"
            else:
                assert paths[0].read_bytes() == paths[1].read_bytes(), f"{name}: {file}"


def metrics(manifest):
    return {name: value for name, value in manifest.metrics.items() if name not in OF_TIME_AND_COST}


def is_tidy(store):
    """Of no step is there work that was begun, a half-written file or a chunk that could not be read.

    Of a run's record a half-written copy may stay, which nobody reads.
    """
    found = [path for path in store.rglob("*") if path.parent != store / "runs"]
    assert [p for p in found if p.name.startswith(".work-") or p.suffix in (".part", ".begun", ".corrupt")] == []


def perform(flow, kills, start, *, mark, bill=None, others=()):
    """Kill a try at each of these (whom, moment), start it again each time, let the last one end; gives the blows.

    start: (the last blow, or None) -> a way of starting, and the try. others: processes with the mark that stay.
    """
    blows: list[Blow] = []
    for whom, moment in [*kills, ("nobody", None)]:
        before = set(flow.records())
        way, tried = start(blows[-1] if blows else None)
        try:
            if moment:
                blows.append(strike(flow, tried, before, moment, whom=whom, way=way))
            tried.done(well=moment is None)
        finally:
            tried.stop()
        until_gone(mark, others)
        if bill:
            bill.after(killed=moment is not None)
    for blow in blows:
        assert flow.status(blow.run_id).startswith("ChildDied: " if blow.whom == "child" else "killed"), blow
    is_tidy(flow.store)
    return blows


def steps_of(flow):
    """Those of the run that was done."""
    (done,) = [run for run in flow.records().values() if run["status"] == "done"]
    assert flow.status(done["run_id"]) == "done"
    return done["steps"]


def took(found):
    """Seconds of each step's own work."""
    return [artifact.manifest.seconds for artifact in found.values()]


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_as_the_undisturbed_one(hasse, finished):
    """Its parent, then the child of what went on, at moments that are the same each time."""
    expected, mark = artifacts(finished.store, finished.steps.values()), uuid.uuid4().hex
    flow = flow_of(hasse.recipe, hasse.store, expected)
    first, second = moments(random.Random(0), took(expected), 2, sorted(flow.with_child))

    def start(blow):
        arguments = ("resume", blow.run_id) if blow else ("run", hasse.recipe)
        return arguments[0], Typed(hasse.start(*arguments, env={"HASSE_TEST_MARK": mark}))

    print(perform(flow, [("parent", first), ("child", second)], start, mark=mark))
    same(artifacts(hasse.store, steps_of(flow)), expected)


# The plan: 20 kills


class Setting:
    """The recipe with its endpoint, and what it comes to undisturbed."""

    def __init__(self, command, server):
        self.command, self.server = command, server
        command.write(recipe_of(server.url))
        self.form = load_recipe(str(command.recipe), []).form_values()
        bill = Bill(server, command.store, first=0)
        self.expected = artifacts(command.store, command.json("run", str(command.recipe))["steps"])
        bill.after(killed=False)
        self.questions = len(bill.seen)
        print(f"undisturbed: {self.questions} questions;", dict(zip(self.expected, took(self.expected), strict=True)))


@pytest.fixture(scope="module")
def setting(tmp_path_factory, make_hasse):
    with pytest.MonkeyPatch.context() as patch, Endpoint(("entailment", "neutral", "contradiction"), DELAY) as server:
        patch.setenv("CHAT_KEY", KEY)
        patch.delenv(VARIABLE, raising=False)
        yield Setting(make_hasse(tmp_path_factory.mktemp("undisturbed")), server)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """A server whose limits let a run go on at once although the slot of a killed one is not free yet."""
    started = Up(tmp_path_factory.mktemp("up"), tmp_path_factory.getbasetemp(), CHAT_KEY=KEY)
    try:
        started.wait(deployments=len(shipped_recipes()))
        for limit in started.api("/v2/concurrency_limits/filter", {}) or ():
            started.api(f"/v2/concurrency_limits/{limit['id']}", {"limit": 50}, method="PATCH")
        yield started
    finally:
        started.stop()
    assert started.marked() == {}


def at_a_terminal(setting, command, mark):
    """A fresh run, and `hasse resume`, by turns."""
    ways = cycle(["run", "resume"])

    def start(blow):
        way = next(ways)
        arguments = ("resume", blow.run_id) if way == "resume" else ("run", setting.command.recipe)
        return way, Typed(command.start(*arguments, env={"HASSE_TEST_MARK": mark}))

    return start


def from_the_server(setting, command, serving):
    """A fresh run from its deployment, Retry of that, and `hasse resume` as a flow, by turns."""
    ways = cycle(["deployment", "retry", "resume"])
    environment = {**serving.environment, "PREFECT_API_URL": f"{serving.url}/api", "PREFECT_HOME": str(command.folder)}
    fresh = {"recipe": setting.form, "store": str(command.store)}
    flow_runs: list[str] = []

    def deployment():
        flow_runs.append(serving.start("rescue-demo", **fresh))
        return flow_runs[-1]

    def retry():
        state = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}
        serving.api(f"/flow_runs/{flow_runs[-1]}/set_state", state)
        return flow_runs[-1]

    def start(blow):
        way = next(ways)
        if way == "resume":
            return way, Typed(command.start("resume", blow.run_id, env=environment))
        return way, Served(serving, deployment if way == "deployment" else retry)

    return start


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("whom", "number"), [("parent", 7), ("child", 7), ("worker", 6)])
def test_twenty_kills_change_nothing_and_nothing_is_paid_twice(whom, number, setting, hasse, request):
    print(f"HASSE_FAULT_SEED={SEED}")
    flow = flow_of(setting.command.recipe, hasse.store, setting.expected)
    among = sorted(flow.with_child) if whom == "child" else range(len(flow.names))
    kills = [(whom, moment) for moment in moments(random.Random(SEED), took(setting.expected), number, among)]
    bill = Bill(setting.server, hasse.store, first=len(setting.server.asked))
    if whom == "parent":
        mark, others = uuid.uuid4().hex, set()
        start = at_a_terminal(setting, hasse, mark)
    else:
        serving = request.getfixturevalue("serving")
        mark, others = serving.mark, set(serving.marked())
        start = from_the_server(setting, hasse, serving)
    blows = perform(flow, kills, start, mark=mark, bill=bill, others=others)
    found = artifacts(hasse.store, steps_of(flow))
    same(found, setting.expected)
    costs = [found[step].manifest.metrics["cost"] for step in ("generate", "judge")]
    assert len(bill.seen) == setting.questions
    # What the log has beside them was noted, and killed before it was sent.
    assert len(bill.seen) + bill.again <= sum(cost["requests"] for cost in costs)
    assert sum(cost["requests"] for cost in costs) <= len(bill.seen) + bill.under_way
    assert bill.under_way == 0 or sum(cost["dollars_unreported"] for cost in costs) > 0
    print(Counter((blow.whom, blow.way) for blow in blows), Counter(blow.step for blow in blows))
    print(f"{sum(blow.checkpoints > 0 for blow in blows)} in training with a checkpoint")
    print(f"{len(bill.seen)} questions, {bill.under_way} under way at kills, {bill.again} asked again")
