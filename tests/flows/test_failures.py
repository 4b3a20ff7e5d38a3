"""A judge that is dead ends the run at its step; the same command mends it, and the page says what is missing."""

import re

import pytest

from hasse.data.records import Judgement, PartialOrder
from hasse.pipeline.store import Store
from tests.stages.chat_server import Act, ChatServer, completion


def scores(asked) -> Act:
    tags = re.findall(r"^\[Answer (\w+)\]$", asked.text, re.MULTILINE)
    marks = ", ".join(f'"{tag}": {{"rationale": "r", "scores": {{"good": {9 - i}}}}}' for i, tag in enumerate(tags))
    return Act(body=completion(f'{{"candidates": {{{marks}}}}}'))


@pytest.mark.slow
def test_a_dead_judge_stops_the_run_and_a_living_one_mends_it(hasse, monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    alive = False
    with ChatServer(lambda asked: scores(asked) if alive else Act(status=500)) as server:
        chat = {"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY", "max_retries": 0}
        judge = {"teacher": "openai", "orders": 1, "aspects": [{"name": "good", "description": "It is."}]}
        judge |= {"chat": chat}
        tiny = hasse.tiny | {"judge": judge, "order": {"strategy": "scores"}}
        tiny["train"] = tiny["train"] | {"steps": 1, "arms": {"sft": {"method": "sft"}}}
        hasse.write(tiny | {"report": {"num_resamples": 100}})
        text = hasse("run", str(hasse.recipe), code=1)
        assert "judge, judgement: 72 of 72 rows came to nothing (72 failed); not one row is usable." in text
        assert "The commonest reason, 72 times: HTTP 500" in text
        assert "judge" not in [row["step"] for row in hasse.json("ls")]
        assert hasse.json("ls", "--runs")[0]["status"].startswith("WorkError: ")
        alive = True
        found = hasse.json("run", str(hasse.recipe))
        assert len(server.asked) == 48
    steps = {step["step"]: step for step in found["steps"]}
    store = Store(hasse.store)
    assert {j.status for j in store.artifact(steps["judge"]["ref"]).records(Judgement)} == {"ok"}
    orders = list(store.artifact(steps["order"]["ref"]).records(PartialOrder))
    assert all(bool(order.pairs) == (order.status == "ok") for order in orders)
    page = (store.artifact(steps["report"]["ref"]).path / "report.html").read_text()
    assert all(sentence in page for sentence in found["missing"])
