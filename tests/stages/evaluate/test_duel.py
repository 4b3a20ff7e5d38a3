"""Answers compared by a real server on loopback, in both orders."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hasse.data.errors import SourceError, WorkError
from hasse.stages.chat.money.budget import Account
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.settings import ChatSettings
from hasse.stages.evaluate.duel import answers, duel, duel_by_reward, read_questions, verdict
from tests.scripted_model import save


@pytest.fixture
def judge(monkeypatch):
    """Likes the longer answer; a question on 'order' is decided by the place, one on 'mute' not at all."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = body["messages"][1]["content"]
            a, b = asked.split("Answer A:\n")[1].split("\n\nAnswer B:\n")
            better = "A" if "order" in asked else "C" if len(a) == len(b) else "A" if len(a) > len(b) else "B"
            text = "Hm." if "mute" in asked else f"Not [[C]] but\n[[{better}]]"
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            data = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("KEY", "k")
    yield ChatSettings(model="m", base_url=f"http://127.0.0.1:{httpd.server_port}/v1", api_key_variable="KEY")
    httpd.shutdown()


def test_both_orders_are_asked_and_a_preference_for_a_place_is_a_tie(judge):
    questions = [("1", "plain"), ("2", "plain"), ("3", "plain"), ("4", "by order"), ("5", "mute")]
    rows, rate = duel(
        questions,
        ["long long", "x", "same", "a", "a"],
        ["x", "long long", "emas", "bb", "bb"],
        judge,
        payer=Account(),
        max_failed=0.2,
    )
    assert [row["verdict"] for row in rows] == ["win", "lose", "tie", "tie", None]
    assert (rate.win, rate.lose, rate.tie, rate.excluded) == (1, 1, 2, 1)
    assert rate.rate.mean == 0
    assert rate.position_bias == pytest.approx(1 / 4)


def test_too_many_questions_without_a_verdict_end_it(judge):
    questions = [("1", "plain"), ("2", "plain"), ("3", "mute")]
    with pytest.raises(WorkError, match=r"2 of 6 questions to the judge came to nothing \(2 without a verdict\)"):
        duel(questions, ["a", "b", "c"], ["aa", "bb", "cc"], judge, payer=Account())
    dead = ChatSettings(model="m", base_url="http://127.0.0.1:9/v1", api_key_variable="KEY", max_retries=0)
    with pytest.raises(WorkError, match=r"6 of 6 questions .*6 failed.*The commonest reason, 6 times: no connection"):
        duel(questions, ["a", "b", "c"], ["aa", "bb", "cc"], dead, payer=Account(), max_failed=1)


def test_a_cap_that_does_not_reach_ends_it(judge):
    """A question may cost a cent, which it is taken to cost where the server reports no usage."""
    own = {"prices": {"m": {"input": 0, "output": 1000}}, "max_tokens": 10, "concurrency": 1, "budget_usd": 0.025}
    capped = ChatSettings.model_validate({**judge.model_dump(exclude_unset=True), **own})
    questions = [("1", "plain"), ("2", "plain")]
    with pytest.raises(WorkError, match=r"2 of 4 questions might have passed budget_usd 0\.025"):
        duel(questions, ["a", "b"], ["aa", "bb"], capped, payer=Account())


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("[[A]]", "ok", "win"),
        ("[[A]] no, [[B]]", "ok", "lose"),
        ("[C]", "ok", None),
        ("[[C]]", "truncated", None),
    ],
)
def test_what_a_reply_says(text, status, expected):
    assert verdict(Reply(text=text, status=status)) == expected


def test_questions_from_a_file(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question_id": "q1", "text": "one"}\n{"text": "two"}\n')
    assert read_questions(path, None) == [("q1", "one"), ("2", "two")]
    assert read_questions(path, 1) == [("q1", "one")]
    path.write_text('{"text": " "}\n')
    with pytest.raises(SourceError, match=r"q\.jsonl"):
        read_questions(path, None)


def test_a_reward_model_decides_by_its_scores(monkeypatch):
    """A reward model that likes letters; an answer of ten does not fit."""

    class Letters:
        def encode(self, prompt, answer):
            return {"input_ids": list(prompt.text + answer)}

        def scores(self, texts, *, micro_batch_tokens):
            return [None if len(text["input_ids"]) > 10 else float(len(text["input_ids"])) for text in texts]

    monkeypatch.setattr("hasse.stages.models.scalar_head.load", lambda folder: Letters())
    questions = [(str(i), "q") for i in range(4)]
    rows, rate = duel_by_reward(questions, ["aaa", "a", "aa", "a"], ["aa", "aa", "bb", "a" * 10], Path("reward"))
    assert [row["verdict"] for row in rows] == ["win", "lose", "tie", None]
    assert (rows[0]["score"], rows[0]["other_score"]) == (4.0, 3.0)
    assert (rate.win, rate.lose, rate.tie, rate.excluded) == (1, 1, 1, 1)


def test_sampled_answers_differ_by_their_seed_and_greedy_ones_do_not(tmp_path):
    save(tmp_path, ["one", "two"])
    questions = [(str(i), "So?") for i in range(20)]
    asked = {"max_tokens": 4}
    first, again, other = (answers(tmp_path, questions, **asked, temperature=1.0, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert set(first) == {"one", "two"}
    assert len(set(answers(tmp_path, questions, **asked))) == 1
