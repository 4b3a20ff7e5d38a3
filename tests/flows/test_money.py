"""What a run pays to a chat endpoint: told before, kept to a cap, gone on from, and shown afterwards."""

import json
import re
import shutil

import pytest

from hasse.data.errors import InputError, WorkError
from hasse.data.records import Judgement
from hasse.data.settings import Config
from hasse.flows.cli.screen import listener
from hasse.flows.recipe.endpoints import endpoints
from hasse.flows.recipe.recipe import Recipe
from hasse.flows.run import run as walking
from hasse.flows.run.forecast import forecast
from hasse.flows.run.prune import prunable
from hasse.flows.run.records import read_runs
from hasse.flows.run.run import walk
from hasse.flows.run.spending import expected, spent
from hasse.pipeline.stage import Stage, Step
from hasse.pipeline.store import Store
from hasse.stages.chat.settings import VARIABLE
from hasse.stages.report.page import costs
from tests.stages.chat_server import Act, ChatServer, failed
from tests.stages.judge_step import PRICES, given, judging, say


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    monkeypatch.delenv(VARIABLE, raising=False)


def chat_judge(server, **chat):
    chat = {"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY", "prices": PRICES, **chat}
    return {"teacher": "openai", "chat": {"concurrency": 4, "max_tokens": 20, "max_retries": 0, **chat}}


@pytest.fixture
def recipe(hasse, tmp_path):
    return Recipe.model_validate(hasse.tiny)


@pytest.fixture
def short(monkeypatch, recipe, tmp_path):
    """(cap, server) -> a run of prompts, judge, and a step that learns from all judgements."""
    store, learned = Store(tmp_path / "store"), []

    def learn(job):
        learned.append(job.input("judgements").ref)
        job.write(job.input("judgements").records(Judgement), Judgement)

    after = Stage(
        name="learn",
        run=learn,
    )

    def run(server, **chat):
        steps = [given(12), judging(server.url, concurrency=2, **chat)]
        steps.append(Step(name="learn", stage=after, settings=Config(), inputs={"judgements": ("judge",)}))
        monkeypatch.setattr(walking, "plan", lambda recipe: steps)
        with listener(quiet=False) as heard:
            return walk(recipe, store, heard)

    run.store, run.learned = store, learned  # type: ignore[attr-defined]
    return run


def test_a_run_stops_where_the_money_ends_and_goes_on_when_there_is_more(short):
    with ChatServer(say=say) as server:
        with pytest.raises(
            WorkError, match=r"judge: \d+ of 12 are not done.*spent\); raise budget_usd and run the same"
        ) as caught:
            short(server, budget_usd=0.07)
        assert caught.value.exit_code == 1
        assert short.learned == []
        (stopped,) = read_runs(short.store)
        assert [step["step"] for step in stopped["steps"]] == ["given", "judge"]
        assert prunable(short.store, keep_runs=1) == []
        finished = short(server, budget_usd=5)
        assert set(server.answered.values()) == {1}
    assert finished.status == "done"
    assert len(short.learned) == 1
    (line,) = costs([finished.artifacts["judge"]])
    assert (line["requests"], line["models"]) == (24, ["m"])


def test_failed_rows_do_not_stop_a_run_and_the_next_asks_for_them_again(short, capsys):
    broken = [True]
    with ChatServer(lambda a: failed(500) if broken and "p0003" in a.text else Act(), say) as server:
        assert short(server, max_retries=0).status == "done"
        assert "4 failed" in capsys.readouterr().out
        broken.clear()
        run = short(server, max_retries=0)
        assert [done.cached for done in run.done] == [True, False, False]
        assert [done.cached for done in short(server, max_retries=0).done] == [True] * 3
    assert len(server.asked) == 24 + 2


def test_a_model_without_a_price_stops_a_run_before_it_begins(short, monkeypatch, tmp_path):
    class Elsewhere:
        url = "http://192.0.2.1/v1"

    with pytest.raises(InputError, match="price of the model 'm' is not known"):
        short(Elsewhere, prices={})
    assert short.store.artifacts() == []


def test_estimates_before_candidates_are_known_are_of_the_longest(hasse, tmp_path):
    """From prompts alone; once there are judgements, of nothing."""

    class Elsewhere:
        url = "http://192.0.2.1/v1"

    tiny = {**hasse.tiny, "judge": chat_judge(Elsewhere)}
    recipe = Recipe.model_validate(tiny)
    store = Store(tmp_path / "store")
    assert {f.estimate for f in forecast(recipe, store)} == {None}
    with listener(quiet=True) as heard:
        walk(recipe, store, heard, only="prompts")
    found = {f.step.name: f.estimate for f in forecast(recipe, store)}["judge"]
    groups = [{**group, "max_tokens": 16} if "max_tokens" in group else group for group in tiny["generate"]["groups"]]
    longer = Recipe.model_validate({**tiny, "generate": {**tiny["generate"], "groups": groups}})
    more = {f.step.name: f.estimate for f in forecast(longer, store)}["judge"]
    assert found is not None
    assert more is not None
    assert (found["calls"], found["calls_at_most"], found["output_tokens"]) == (48, 48, 48 * 20)
    assert found["rough"]
    assert more["input_tokens"] - found["input_tokens"] == 48 * 2 * 8  # two sampled answers with 8 tokens more
    assert "if candidates are as long as allowed" in expected(found)


def test_the_command_tells_stops_and_goes_on(finished, hasse):
    """From the dry run to what is listed; the steps before the judge are there."""
    shutil.copytree(finished.store, hasse.store)
    run = ["run", str(hasse.recipe)]
    with ChatServer(say=say) as server:
        hasse.write({**hasse.tiny, "judge": chat_judge(server, budget_usd=0.2)})
        plan = {step["step"]: step for step in hasse.json(*run, "--dry-run")}
        assert plan["judge"]["estimate"]["calls"] == 48
        assert "48 calls; " in hasse(*run, "--dry-run")
        said = hasse(*run, code=1)
        assert "of 24 are not done, because budget_usd is used up ($0." in said
        assert "Traceback" not in said
        (row,) = [row for row in hasse.json("ls", "--stage", "judge") if "budget_stopped" in row["rows"]]
        assert row["dollars"] > 0.1
        assert all(not row["problems"] for row in hasse.json("verify"))
        hasse("prune", "--keep-runs", "1")
        less = {step["step"]: step for step in hasse.json(*run, "--dry-run")}
        assert 0 < less["judge"]["estimate"]["calls"] < 48
        hasse.write({**hasse.tiny, "judge": chat_judge(server, budget_usd=3)})
        steps = hasse.run()
        assert len(server.asked) == len(server.answered) == 48
    without, page = (
        pages(command.store, steps["report"]["ref"]) for command, steps in ((finished, finished.steps), (hasse, steps))
    )
    assert "<h3>Money</h3>" not in without
    (costs_of_judge,) = re.findall(r"<tr><td>judge</td><td>m</td>(.*?)</tr>", page)
    assert '<td class="n">48</td><td class="n">0</td>' in costs_of_judge
    assert page.count("<td>judge</td><td>judgement</td>") == 1


def pages(store, ref):
    return (store / ref / "report.html").read_text()


def test_what_is_shown_of_money():
    estimate = {"calls": 1000, "calls_at_most": 1200, "input_tokens": 5, "output_tokens": 6, "free": False}
    shown = expected({**estimate, "dollars": 1.234, "budget_usd": 2.0})
    assert shown == "1,000 calls, up to 1,200; 5 tokens in, at most 6 out; at most $1.23, cap $2"
    assert expected({**estimate, "dollars": None, "budget_usd": None}).endswith("; no price")
    assert expected({**estimate, "dollars": 0.0, "free": True, "budget_usd": 1.0}).endswith("; free")
    assert spent({"dollars": 0.5, "dollars_unreported": 0.0}) == "$0.5 spent"
    assert spent({"dollars": 0.5, "dollars_unreported": 0.25}) == "$0.5 spent, perhaps $0.25 more on lost replies"


def test_endpoints_are_found_wherever_they_stand(hasse):
    class Elsewhere:
        url = "http://192.0.2.1/v1"

    recipe = Recipe.model_validate({**hasse.tiny, "judge": chat_judge(Elsewhere)})
    assert [chat.model for chat in endpoints({"a": [recipe]})] == ["m"]
    assert json.dumps([*map(str, endpoints(Recipe.model_validate(hasse.tiny)))]) == "[]"
