"""The chat client against a server on loopback that misbehaves."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
import urllib.request
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hasse.data.errors import InputError, StoreError
from hasse.data.settings import key_of
from hasse.pipeline.fingerprint import digest
from hasse.stages.chat import one_by_one as chat_questions
from hasse.stages.chat.ask import ask, converse
from hasse.stages.chat.cache.file import num_damaged
from hasse.stages.chat.money.budget import Account, Ledger
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.request import Request
from hasse.stages.chat.settings import VARIABLE, ChatSettings, Price
from tests.stages.chat_server import GOOD, SLOW, Act, ChatServer, completion, failed, unreliable

ROOT = Path(__file__).parents[3]
KEY = "sk-live-0123456789abcdef"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", KEY)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(chat_questions, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(chat_questions, "LONGEST_PAUSE", 0.1)


def settings_for(server, **changes):
    return ChatSettings(**{"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY", **changes})


def account(ledger=None):
    return Account(ledgers={"m": ledger or Ledger()})


def asked(server, texts, *, ledger=None, schema=None, payer=None, **changes):
    questions = [("Be short.", text) for text in texts]
    return list(ask(questions, settings_for(server, **changes), payer=payer or account(ledger), schema=schema))


def first_time(act):
    return lambda a: act if a.tried == 1 else Act()


@pytest.mark.parametrize(
    "act",
    [
        failed(408),
        failed(409),
        failed(429),
        failed(429, **{"retry-after": "0.1"}),
        failed(500),
        failed(503),
        Act(cut=True),
        Act(delay=SLOW),
        Act(body=b"{'no json'"),
        Act(body=b"[]"),
        Act(body={"choices": []}),
        Act(body={"choices": [{"message": "x"}]}),
    ],
)
def test_what_another_try_may_mend_is_tried_again(act):
    with ChatServer(first_time(act)) as server:
        ledger = Ledger()
        assert asked(server, ["a"], ledger=ledger, timeout=2) == [Reply(text="Answer to a", status="ok")]
    assert (ledger.requests, ledger.retries, ledger.by_status) == (2, 1, {"ok": 1})


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (completion("yes"), Reply(text="yes", status="ok")),
        (completion("ye", reason="length"), Reply(text="ye", status="truncated")),
        (completion(None, reason="length"), Reply(text="", status="truncated")),
        (completion(None, refusal="I will not."), Reply(text="", status="refused", error="I will not.")),
        (completion(" \n"), Reply(text="", status="refused", error="an empty answer")),
        (
            completion("ye", reason="content_filter"),
            Reply(text="", status="refused", error="stopped by the endpoint's content filter"),
        ),
        (completion("yes") | {"usage": None}, Reply(text="yes", status="ok")),
    ],
)
def test_a_whole_reply_has_a_status_and_is_asked_once(body, reply):
    with ChatServer(lambda _: Act(body=body)) as server:
        assert asked(server, ["a"]) == [reply]
    assert len(server.asked) == 1


def test_after_the_last_retry_the_question_ends_and_says_why():
    with ChatServer(lambda _: failed(500)) as server:
        (reply,) = asked(server, ["a"], max_retries=2)
    assert reply == Reply(text="", status="failed", error="HTTP 500; asked 3 times")
    assert len(server.asked) == 3


def test_nobody_listening_ends_each_question():
    with ChatServer() as server:
        pass
    ledger = Ledger()
    (reply,) = asked(server, ["a"], max_retries=1, ledger=ledger, prices={"m": Price(input=1, output=1)})
    assert reply.status == "failed"
    assert "ConnectError" in str(reply.error)
    assert ledger.dollars_unreported == 0


def test_a_deadline_ends_a_question_over_all_its_tries():
    with ChatServer(lambda _: failed(500)) as server:
        started = time.monotonic()
        (reply,) = asked(server, ["a"], max_retries=10_000, deadline=0.5)
    assert (reply.status, reply.error) == ("failed", "no answer by the deadline of 0.5 s")
    assert 0.4 < time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("status", "advice"),
    [(400, "it says: no"), (401, "CHAT_KEY"), (403, "may not use"), (404, "check model and base_url"), (422, "no")],
)
def test_what_another_try_would_not_mend_stops_all_at_once(status, advice):
    def plan(a):
        return failed(status) if a.text == "3" else Act(delay=1.0)

    with ChatServer(plan) as server:
        with pytest.raises(InputError, match=rf"refuses requests to 'm' \({status}\)") as caught:
            asked(server, map(str, range(100)), concurrency=8)
        time.sleep(1.5)
        assert len(server.asked) <= 8
        assert server.answered == {}
        assert server.abandoned == len(server.asked) - 1
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        {"message": "Too many tokens.", "code": "context_length_exceeded"},
        {"message": "This model's maximum context length is 9 tokens. However, your prompt has 12.", "code": 400},
    ],
)
def test_a_question_that_is_too_long_is_the_fault_of_its_row_alone(tmp_path, said):
    def plan(a):
        return Act(status=400, body={"error": said}) if a.text == "long" else GOOD

    with ChatServer(plan) as server:
        ledger = Ledger()
        found = asked(server, ["a", "long", "b"], ledger=ledger, cache=tmp_path / "c.sqlite")
        assert len(server.asked) == 3
    assert [(reply.status, reply.error) for reply in found] == [
        ("ok", None),
        ("filtered", said["message"]),
        ("ok", None),
    ]
    assert (ledger.retries, ledger.dollars_unreported) == (0, 0)


def test_an_account_without_credit_is_not_waited_for():
    empty = Act(status=429, body={"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
    with ChatServer(lambda _: empty) as server, pytest.raises(InputError, match="CHAT_KEY has no quota left"):
        asked(server, ["a"])
    assert len(server.asked) == 1


def test_the_request_is_what_was_asked_for():
    schema = {"type": "object", "properties": {"v": {"type": "string"}}}
    with ChatServer() as server:
        asked(server, ["a"], schema=schema, temperature=0.5, max_tokens=7)
    assert server.asked[0].body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "a"}],
        "temperature": 0.5,
        "max_completion_tokens": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


def test_settings_that_cannot_change_an_answer_are_outside_the_key():
    changes = {"cache": "c", "budget_usd": 1, "prices": {"m": {"free": True}}, "deadline": 1, "tokens_per_minute": 1}
    changes |= {"longest_wait": 1, "base_url": "http://other/v1"}
    assert key_of(ChatSettings(model="m", **changes)) == key_of(ChatSettings(model="m"))
    others = [
        {"temperature": None},
        {"reasoning_effort": "low"},
        {"extra_body": {"a": 1}},
        {"token_limit": "max_tokens"},
    ]
    keys = [key_of(ChatSettings(model="m", **change)) for change in others]
    assert all(key != key_of(ChatSettings(model="m")) for key in keys)


def test_an_iterator_left_early_stops_asking_and_replies_come_in_order():
    with ChatServer(lambda a: Act(delay=0.3 if a.text == "0" else 0.01)) as server:
        replies = ask([("", str(i)) for i in range(500)], settings_for(server, concurrency=2), payer=account())
        assert [next(replies).text for _ in range(3)] == [f"Answer to {i}" for i in range(3)]
        replies.close()
        time.sleep(0.3)  # the server may yet have to read what was sent
        count = len(server.asked)
        time.sleep(0.3)
        assert len(server.asked) == count < 400


def test_a_slow_reader_of_replies_times_no_question_out():
    ledger = Ledger()
    with ChatServer(lambda _: Act(delay=0.1)) as server:
        questions = [("", str(i)) for i in range(5)]
        for reply in ask(questions, settings_for(server, concurrency=2, timeout=1), payer=account(ledger)):
            assert reply.status == "ok"
            time.sleep(1.1)
    assert ledger.retries == 0


# Many questions, and a server that misbehaves on 30 % of the requests.

MANY = [f"question {i}" for i in range(300)]
STUBBORN = {"concurrency": 16, "max_retries": 12, "timeout": 2}


def test_every_question_ends_and_none_is_answered_twice(tmp_path):
    seed = 1
    with ChatServer(unreliable(seed)) as server:
        ledger = Ledger()
        texts = [*MANY, *MANY[:20]]
        replies = asked(server, texts, ledger=ledger, cache=tmp_path / "c.sqlite", **STUBBORN)
    assert [reply.text for reply in replies] == [f"Answer to {text}" for text in texts]
    assert set(server.answered.values()) == {1}
    assert ledger.by_status == {"ok": 320}
    assert ledger.cached + ledger.repeated == 20
    assert ledger.requests == len(server.asked) == 300 + ledger.retries
    assert ledger.retries > 60
    with_usage = 300 + _num(server, seed, lambda act: isinstance(act.body, dict) and "choices" in act.body)
    assert (ledger.input_tokens, ledger.output_tokens) == (10 * with_usage, 5 * with_usage)


def _num(server, seed, matches):
    plan = unreliable(seed)
    return sum(act.body is not None and matches(act) for act in map(plan, server.asked))


CHILD = """
import sys
from pathlib import Path
from hasse.stages.chat import one_by_one as chat_questions
from hasse.stages.chat.ask import ask
from hasse.stages.chat.money.budget import Account
from hasse.stages.chat.settings import ChatSettings
chat_questions.FIRST_PAUSE, chat_questions.LONGEST_PAUSE = 0.02, 0.1
settings = ChatSettings(model="m", base_url=sys.argv[1], api_key_variable="CHAT_KEY", cache=Path(sys.argv[2]),
                        concurrency=16, max_retries=12, timeout=2)
for reply in ask([("Be short.", f"question {i}") for i in range(300)], settings, payer=Account()):
    print(reply.status, flush=True)
"""


@pytest.mark.parametrize("hold", [True, False])
def test_after_a_kill_nothing_that_arrived_is_paid_for_again(hold, tmp_path):
    """With the server's answers held at the kill none is under way; else those under way may be asked again."""
    path = tmp_path / "c.sqlite"
    with ChatServer(unreliable(3)) as server:
        server.hold_after = 100 if hold else None
        command = [sys.executable, "-c", CHILD, server.url, str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as child:
            _until(lambda: _rows(path) >= 100)
            child.send_signal(signal.SIGKILL)
        before = _rows(path)
        server.thaw()
        ledger = Ledger()
        replies = asked(server, MANY, ledger=ledger, cache=path, **STUBBORN)
    assert [reply.text for reply in replies] == [f"Answer to {text}" for text in MANY]
    assert ledger.cached == before
    assert ledger.requests - ledger.retries == 300 - before
    assert sum(server.answered.values()) - 300 <= (0 if hold else 16)


def _until(reached, seconds=60):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def _rows(path):
    if not path.exists():
        return 0
    try:
        return sqlite3.connect(path).execute("select count(*) from reply").fetchone()[0]
    except sqlite3.OperationalError:  # between the file and its table
        return 0


# The cache


def test_another_request_is_another_key(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "new" / "c.sqlite"))
    with ChatServer() as server, ChatServer() as other:
        for changes in ({}, {}, {"temperature": 1}, {"max_tokens": 3}, {"model": "n"}, {"schema": {"type": "object"}}):
            asked(server, ["a"], **changes)
        assert len(server.asked) == 5
        asked(other, ["a"])
        assert len(other.asked) == 1


def test_only_whole_replies_are_kept(tmp_path):
    acts = {
        "ok": Act(),
        "truncated": Act(body=completion("x", reason="length")),
        "refused": Act(body=completion(None, refusal="No.")),
        "failed": failed(500),
    }
    with ChatServer(lambda a: acts[a.text]) as server:
        for _ in range(2):
            ledger = Ledger()
            found = asked(server, list(acts), ledger=ledger, cache=tmp_path / "c", max_retries=0)
            assert [reply.status for reply in found] == list(acts)
    assert ledger.cached == 3
    assert Counter(a.text for a in server.asked) == {"ok": 1, "truncated": 1, "refused": 1, "failed": 2}


def replies_to(request, settings):
    def conversation():
        (replies,) = yield [request]
        return replies

    (replies,) = converse([conversation()], settings, payer=account())
    return replies


def test_several_answers_to_a_request_are_kept_together(tmp_path):
    request = Request(messages=[{"role": "user", "content": "a"}], options={"n": 3, "logprobs": True})
    with ChatServer() as server:
        settings = settings_for(server, cache=tmp_path / "c")
        found = [replies_to(request, settings) for _ in range(2)]
        assert len(server.asked) == 1
        with closing(sqlite3.connect(tmp_path / "c")) as db, db:
            tokens = db.execute("select input_tokens, output_tokens from reply order by key").fetchall()
            assert db.execute("delete from reply where key like '%-2'").rowcount == 1
        *kept, new = replies_to(request, settings)
        assert (kept, new.text) == (list(found[0][:2]), "Answer to a")
        assert [a.body.get("n") for a in server.asked] == [3, None]
    assert tokens == [(10, 15), (None, None), (None, None)]
    assert found[0] == found[1]
    assert [reply.text for reply in found[0]] == [f"Answer {i} to a" for i in range(3)]
    assert found[0][2].logprobs == (-1.5, -0.25, -0.5, -0.25)


def test_a_cache_of_version_1_is_read_and_goes_on(tmp_path):
    with ChatServer() as server:
        messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "a"}]
        body = {"model": "m", "messages": messages, "temperature": 0.0, "max_completion_tokens": 512}
        with closing(sqlite3.connect(tmp_path / "c")) as db, db:
            db.execute(
                "create table reply (key text primary key, status text not null, text text not null, error text,"
                " input_tokens integer, output_tokens integer, created real not null)"
            )
            key = digest({"base_url": f"{server.url}/", "body": body})
            db.execute("insert into reply values (?, 'ok', 'paid long ago', null, 1, 2, 3.0)", (key,))
            db.execute("pragma user_version = 1")
        found = [[reply.text for reply in asked(server, ["a", "b"], cache=tmp_path / "c")] for _ in range(2)]
    assert found == [["paid long ago", "Answer to b"]] * 2
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "change", ["text = 'Answer to b'", "text = cast(x'61ff' as text)", "logprobs = '[', text = 'x'"]
)
def test_a_damaged_reply_is_never_used_but_asked_for_again(change, tmp_path):
    with ChatServer() as server:
        asked(server, ["a", "b"], cache=tmp_path / "c")
        with closing(sqlite3.connect(tmp_path / "c")) as db, db:
            db.execute(f"update reply set {change} where text = 'Answer to a'")
        assert num_damaged(tmp_path / "c") == 1
        assert [reply.text for reply in asked(server, ["a", "b"], cache=tmp_path / "c")] == [
            "Answer to a",
            "Answer to b",
        ]
        assert [a.text for a in server.asked] == ["a", "b", "a"]
    assert num_damaged(tmp_path / "c") == 0


@pytest.mark.parametrize("content", [b"no database" * 100, None])
def test_a_file_of_something_else_is_no_cache(content, tmp_path):
    path = tmp_path / "c"
    if content:
        path.write_bytes(content)
    else:
        sqlite3.connect(path).execute("create table other (x)")
    with ChatServer() as server, pytest.raises(InputError, match="name another file"):
        asked(server, ["a"], cache=path)


def test_a_cache_that_cannot_be_written_stops_the_asking(tmp_path):
    """Rather than paying for what would be lost."""
    path = tmp_path / "c"
    with ChatServer() as server:
        replies = ask(
            [("", str(i)) for i in range(1000)], settings_for(server, cache=path, concurrency=2), payer=account()
        )
        next(replies)
        sqlite3.connect(path).execute("drop table reply")
        with pytest.raises(StoreError, match="name another file"):
            list(replies)
    assert len(server.asked) < 1000


# Money: 10 + 5 tokens a reply, as the server counts them; at these prices 0.015 dollars.

PRICES = {"m": Price(input=1000, output=1000)}
COST = 0.015


def test_a_budget_is_kept_and_a_higher_one_goes_on(tmp_path):
    texts = [f"{i}" for i in range(60)]
    with ChatServer(lambda _: Act(delay=0.01)) as server:
        changes = {"prices": PRICES, "max_tokens": 20, "concurrency": 4, "cache": tmp_path / "c"}
        ledger = Ledger()
        first = [reply.status for reply in asked(server, texts, ledger=ledger, budget_usd=0.3, **changes)]
        done = first.count("ok")
        assert first == ["ok"] * done + ["budget_stopped"] * (60 - done)
        assert 14 <= done == len(server.asked)  # at most 4 x 0.023 are reserved when it stops
        assert ledger.dollars == pytest.approx(done * COST)
        assert ledger.dollars <= 0.3
        more = Ledger()
        second = asked(server, texts, ledger=more, budget_usd=5, **changes)
        assert [reply.status for reply in second] == ["ok"] * 60
        assert set(server.answered.values()) == {1}
        assert more.cached == done
        assert more.dollars == pytest.approx((60 - done) * COST)


def test_a_cap_is_passed_by_no_more_than_the_requests_under_way():
    """Where the server counts more than was estimated."""
    body = completion("x", tokens=(100, 1))
    with ChatServer(lambda _: Act(body=body, delay=0.02)) as server:
        ledger = Ledger()
        asked(server, map(str, range(50)), ledger=ledger, budget_usd=0.5, prices=PRICES, max_tokens=1, concurrency=3)
    assert 0.3 < ledger.dollars <= 0.5 + 3 * 0.101


def test_the_cap_holds_over_the_calls_of_an_account():
    limits = {"budget_usd": 0.1, "prices": PRICES, "max_tokens": 5, "concurrency": 1}
    with ChatServer() as server:
        payer = account()
        chunks = [asked(server, [f"{i}-{j}" for j in range(4)], payer=payer, **limits) for i in range(9)]
        paid = len(server.asked)
    statuses = [reply.status for chunk in chunks for reply in chunk]
    assert 0 < paid == statuses.count("ok") < 36
    assert statuses.count("budget_stopped") == 36 - paid


def test_what_may_have_been_charged_unseen_counts():
    with ChatServer(first_time(Act(cut=True))) as server:
        ledger = Ledger()
        asked(server, ["a"], ledger=ledger, prices=PRICES, max_tokens=20)
    assert ledger.dollars == pytest.approx(COST)
    assert ledger.dollars_unreported == pytest.approx(0.023)  # (10 letters / 4, rounded up, and 20) thousandths


def test_a_budget_needs_a_price_and_free_is_one():
    with ChatServer() as server:
        with pytest.raises(InputError, match=r"price of the model 'm' is not known \(known: n\)"):
            asked(server, ["a"], budget_usd=1, prices={"n": Price(free=True)})
        assert server.asked == []
        (reply,) = asked(server, ["a"], budget_usd=0, prices={"m": Price(free=True)})
    assert reply.status == "ok"
    with pytest.raises(ValueError, match="or `free: true`"):
        Price(input=1)


# Limits


def test_the_number_at_a_time_follows_what_the_server_bears():
    with ChatServer(lambda a: replace(failed(429) if a.running > 4 else Act(), delay=0.1)) as server:
        replies = asked(server, map(str, range(300)), concurrency=16, max_retries=100)
    assert {reply.status for reply in replies} == {"ok"}
    seen = [a.running for a in server.asked]
    assert max(seen[100:]) <= 6
    assert sum(running > 4 for running in seen[100:]) < 60


@pytest.mark.parametrize(
    "act",
    [
        failed(429, **{"retry-after": "1"}),
        failed(503, **{"retry-after-ms": "1000"}),
        Act(headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}),
        Act(headers={"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "1000ms"}),
    ],
)
def test_what_the_server_says_of_waiting_holds_all_questions(act):
    with ChatServer(lambda a: act if a.text == "0" and a.tried == 1 else Act()) as server:
        asked(server, ["0", "1", "2"], concurrency=1)
    times = [a.time for a in server.asked]
    assert times[1] - times[0] > 0.9


def test_a_wait_without_overload_is_the_question_s_own():
    act = failed(500, **{"retry-after": "1"})
    with ChatServer(lambda a: act if a.text == "0" and a.tried == 1 else Act()) as server:
        asked(server, ["0", "1"], concurrency=1)
    assert [a.text for a in server.asked] == ["0", "1", "0"]
    assert server.asked[2].time - server.asked[0].time > 0.9


def test_a_rate_is_kept():
    with ChatServer() as server:
        asked(server, map(str, range(10)), requests_per_minute=600)
        times = [a.time for a in server.asked]
        assert times[-1] - times[0] > 0.8
        asked(server, map(str, range(10, 20)), tokens_per_minute=6000, max_tokens=7)
        first, *_, last = (a.time for a in server.asked[10:])
    # 10 tokens are estimated, 15 counted: each costs the next 0.1 s and those after it 0.05 s more
    assert last - first > 1.0


def test_many_at_a_time_are_answered_as_fast_as_they_may(record_property):
    """The rate is written down, not asserted: the machine may be busy, and the ideal wants half of one core."""
    concurrency, latency, count = 64, 0.2, 640
    command = [sys.executable, "-m", "tests.stages.chat_server", str(latency)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as server:
        server.url = server.stdout.readline().strip()
        asked(server, ["warm up"])
        started, used = time.monotonic(), time.process_time()
        ledger = Ledger()
        asked(server, map(str, range(count)), concurrency=concurrency, ledger=ledger)
        rate = count / (time.monotonic() - started)
        used = time.process_time() - used
        with urllib.request.urlopen(server.url) as counts:
            seen = json.load(counts)
        server.kill()
    ideal = concurrency / latency
    record_property("chat_throughput", f"{rate:.0f}/s of {ideal:.0f}/s, {1000 * used / count:.1f} ms of processor each")
    print(f"{rate:.0f}/s of {ideal:.0f}/s, {1000 * used / count:.1f} ms of processor each")
    assert 1 < seen["peak"] <= concurrency
    assert set(seen["answered"].values()) == {1}
    assert ledger.requests == count


# The key


def test_the_key_stands_nowhere(tmp_path, caplog, monkeypatch):
    """Although the server says it wherever it can."""
    caplog.set_level(0)
    said = f"the key {KEY} is bad"
    kept = {
        "text": completion(said),
        "refusal": completion(None, refusal=said),
        "cut": completion(said, reason="length"),
    }
    acts = {name: Act(body=body) for name, body in kept.items()} | {"500": failed(500, said)}
    errors = []
    with ChatServer(lambda a: acts.get(a.text) or failed(int(a.text), said)) as server:
        ledger = Ledger()
        replies = asked(server, list(acts), ledger=ledger, cache=tmp_path / "c", max_retries=1)
        for status in ("400", "401", "403", "404"):
            with pytest.raises(InputError) as caught:
                asked(server, [status], cache=tmp_path / "c")
            errors.append(caught.value)
    monkeypatch.setenv("CHAT_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(InputError, match="white space") as caught:
        asked(server, ["text"])
    shown = [repr((replies, ledger, settings_for(server))), caplog.text]
    shown += [f"{error!r} {''.join(traceback.format_exception(error))}" for error in (*errors, caught.value)]
    shown += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    assert [text for text in shown if KEY in text] == []
    assert all(error.__context__ is None and error.__cause__ is None for error in errors)
    assert replies[0].text == "the key [key] is bad"
    assert "the key [key] is bad" in str(errors[0])


def test_a_placeholder_for_a_key_is_no_secret(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "EMPTY")
    with ChatServer() as server:
        assert asked(server, ["EMPTY"])[0].text == "Answer to EMPTY"


# Conversations


def _talk(first, then):
    """Asks one question, then others that do not depend on the answer; returns all answers."""

    def request(text):
        return Request(messages=[{"role": "user", "content": text}])

    ((reply,),) = yield [request(first)]
    replies = yield [request(text) for text in then]
    return [reply.text, *(found.text for (found,) in replies)]


def test_what_conversations_ask_alike_is_asked_once_also_while_all_of_them_wait():
    """The first answers come all at once, so that all then wait for the next start that the rate allows."""

    def plan(asked):
        return Act(delay=0.1 * (12 - int(asked.text)) - 0.05 if asked.text.isdigit() else 0.0)

    with ChatServer(plan) as server:
        ledger = Ledger()
        talks = [_talk(f"{i}", ["same", f"more {i}", "same"]) for i in range(12)]
        found = list(converse(talks, settings_for(server, requests_per_minute=600), payer=account(ledger)))
        assert Counter(asked.text for asked in server.asked)["same"] == 1
    assert found == [[f"Answer to {text}" for text in (f"{i}", "same", f"more {i}", "same")] for i in range(12)]
    assert (ledger.requests, ledger.repeated, ledger.by_status) == (25, 23, {"ok": 48})


def test_a_conversation_that_fails_ends_all():
    def failing():
        yield [Request(messages=[{"role": "user", "content": "a"}])]
        raise ValueError("on purpose")

    with ChatServer() as server, pytest.raises(ValueError, match="on purpose"):
        list(converse([_talk("b", ["c"]), failing(), _talk("d", ["e"])], settings_for(server), payer=account()))
