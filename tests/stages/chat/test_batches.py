"""Questions by batches, against a server on loopback that treats them badly."""

import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from hasse.data.errors import InputError, WorkError
from hasse.data.records import Prompt
from hasse.data.settings import key_of
from hasse.stages.chat import one_by_one as chat_questions
from hasse.stages.chat.ask import ask
from hasse.stages.chat.money.budget import Account, Ledger
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.settings import VARIABLE, ChatSettings, Price
from hasse.stages.generate.samplers import openai
from tests.stages.chat_batch_server import BatchServer, Course
from tests.stages.chat_server import Act, completion, failed

ROOT = Path(__file__).parents[3]
KEY = "sk-live-0123456789abcdef"
PRICES = {"m": Price(input=1000, output=1000)}  # 10 + 5 tokens a reply: 0.015 dollars


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", KEY)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(chat_questions, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(chat_questions, "LONGEST_PAUSE", 0.05)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "c"


def settings_for(server, cache, *, batch=None, **changes):
    how = {"poll_seconds": 0.02, **(batch or {})}
    where = {"base_url": server.url, "api_key_variable": "CHAT_KEY", "cache": cache}
    return ChatSettings(**{"model": "m", "batch": how, **where, **changes})


def asked(server, cache, texts, *, ledger=None, **changes):
    payer = Account(ledgers={"m": ledger or Ledger()})
    return list(ask([("Be short.", text) for text in texts], settings_for(server, cache, **changes), payer=payer))


def answers(texts):
    return [Reply(text=f"Answer to {text}", status="ok") for text in texts]


def noted(cache):
    """The batches that the file still waits for."""
    with closing(sqlite3.connect(cache)) as db:
        return db.execute("select batch_id from batch").fetchall()


TEXTS = [str(i) for i in range(7)]


def test_questions_go_up_in_files_and_come_back_in_order(cache):
    with BatchServer() as server:
        ledger = Ledger()
        found = asked(server, cache, [*TEXTS, "0"], ledger=ledger, batch={"max_requests": 3, "completion_window": "1h"})
        assert found == answers([*TEXTS, "0"])
        assert [len(server.lines(i)) for i in range(3)] == [3, 3, 1]
        assert {batch["completion_window"] for batch in server.made} == {"1h"}
        line = server.lines(0)[1]
        assert {name: line[name] for name in ("method", "url")} == {"method": "POST", "url": "/v1/chat/completions"}
        assert line["body"]["messages"][1] == {"role": "user", "content": "1"}
        with closing(sqlite3.connect(cache)) as db:
            keys = {key for (key,) in db.execute("select key from reply")}
        assert keys == {line["custom_id"] for i in range(3) for line in server.lines(i)}
        assert noted(cache) == []
        assert asked(server, cache, TEXTS) == answers(TEXTS)
    assert (ledger.requests, ledger.retries, ledger.repeated, ledger.by_status) == (7, 0, 1, {"ok": 8})
    assert (len(server.made), len(server.files)) == (3, 6)


def test_a_file_is_no_longer_than_allowed(cache):
    with BatchServer() as server:
        texts = [letter * 1000 for letter in "abcde"]
        assert asked(server, cache, texts, batch={"max_megabytes": 0.003}) == answers(texts)
        assert [len(server.lines(i)) for i in range(3)] == [2, 2, 1]


def test_the_direct_way_and_batches_share_what_was_paid_for(cache):
    with BatchServer() as server:
        asked(server, cache, TEXTS[:4])
        direct = ChatSettings(model="m", base_url=server.url, api_key_variable="CHAT_KEY", cache=cache)
        assert list(ask([("Be short.", text) for text in TEXTS], direct, payer=Account())) == answers(TEXTS)
    assert set(server.answered.values()) == {1}


COURSES = {
    "expires half done": Course(end="expired", share=0.5),
    "is cancelled half done": Course(end="cancelled", share=0.3),
    "is cancelled before anything is done": Course(end="cancelled", share=0),
    "is slow": Course(looks=20),
    "cannot be looked at": Course(failing_looks=10),
    "is cut off while it is read": Course(cut_reads=2),
    "holds every line twice, and others": Course(mess=True),
    "is lost while it is made": Course(making=Act(cut=True)),
    "is made with an error": Course(making=failed(500)),
    "is made with nonsense": Course(making=Act(body=b"{")),
}


@pytest.mark.parametrize("course", COURSES.values(), ids=COURSES)
def test_whatever_becomes_of_the_first_batch_each_question_is_paid_for_once(course, cache):
    def of(number):
        return course if number == 0 else Course()

    with BatchServer(course=of) as server:
        ledger = Ledger()
        assert asked(server, cache, TEXTS, ledger=ledger, prices=PRICES) == answers(TEXTS)
        assert set(server.answered.values()) == {1}
        assert noted(cache) == []
    left = 7 - round(7 * course.share)
    assert len(server.made) == (2 if left else 1)
    assert (ledger.requests, ledger.retries) == (7 + left, left)
    assert (ledger.dollars, ledger.dollars_unreported) == (pytest.approx(7 * 0.015), 0)
    assert ledger.by_status == {"ok": 7}


def test_an_upload_is_tried_again(cache):
    with BatchServer() as server:
        server.uploads = [failed(500), failed(429), Act(cut=True), Act(body=b"[]")]
        assert asked(server, cache, ["a"]) == answers(["a"])
    assert len(server.made) == 1


LINES = {
    "500": failed(500),
    "429": failed(429),
    "left out": Act(cut=True),
    "no json": Act(body=b"{'no json'"),
    "no answer": Act(body={"choices": []}),
    "not whole": Act(body=completion("x", reason="error")),
}


@pytest.mark.parametrize("act", LINES.values(), ids=LINES)
def test_what_another_try_may_mend_is_in_the_next_batch(act, cache):
    with BatchServer(lambda a: act if a.text == "1" and a.tried == 1 else Act()) as server:
        assert asked(server, cache, TEXTS) == answers(TEXTS)
        assert [len(server.lines(i)) for i in range(len(server.made))] == [7, 1]


def test_after_the_last_batch_a_question_has_failed_and_says_why(cache):
    with BatchServer(lambda a: failed(500) if a.text == "1" else Act()) as server:
        found = asked(server, cache, TEXTS, batch={"max_attempts": 2})
    assert found[1] == Reply(text="", status="failed", error="HTTP 500; asked in 2 batches")
    assert [*found[:1], *found[2:]] == answers(["0", *TEXTS[2:]])
    assert len(server.made) == 2
    with BatchServer(course=lambda number: Course(end="expired", share=0)) as server:
        (reply,) = asked(server, cache, ["a"])
    assert reply.error == "batch_expired: it was not done in time; asked in 3 batches"


def test_what_another_try_would_not_mend_stops_after_the_others_are_kept(cache):
    acts = {"1": failed(400, "too long")}
    with BatchServer(lambda a: acts.get(a.text, Act())) as server:
        with pytest.raises(InputError, match=r"refuses requests to 'm' \(400\).*it says: too long"):
            asked(server, cache, TEXTS)
        assert noted(cache) == []
        acts.clear()
        assert asked(server, cache, TEXTS) == answers(TEXTS)
        assert [len(server.lines(i)) for i in range(2)] == [7, 1]
    assert set(server.answered.values()) == {1}


def test_a_batch_that_is_refused_stops_with_the_server_s_words(cache):
    errors = ({"code": "invalid", "line": 3, "message": "model 'm' is not for batches"},)
    ends = [Course(end="failed", errors=errors), Course()]
    with BatchServer(course=lambda number: ends[number]) as server:
        with pytest.raises(InputError, match="batch-0; it says: line 3: model 'm' is not for batches"):
            asked(server, cache, TEXTS)
        assert asked(server, cache, TEXTS) == answers(TEXTS)  # it is not waited for again


def test_without_room_a_batch_waits_for_the_others(cache):
    full = Course(end="failed", errors=({"code": "token_limit_exceeded", "message": "Enqueued token limit reached"},))

    def plan(a):
        return failed(500) if (a.text, a.tried) == ("3", 1) else Act()

    with BatchServer(plan, lambda number: full if number in (1, 2, 4) else Course()) as server:
        ledger = Ledger()
        found = asked(server, cache, TEXTS, ledger=ledger, batch={"max_requests": 3, "max_attempts": 2})
        assert found == answers(TEXTS)
        sizes = [len(server.lines(i)) for i in range(len(server.made))]
    assert sizes == [3, 3, 1, 3, 1, 2]
    assert (ledger.requests, ledger.retries) == (13, 6)
    with BatchServer(course=lambda number: full) as server, pytest.raises(InputError, match="Enqueued token limit"):
        asked(server, cache, TEXTS)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_an_endpoint_without_batches_says_so(status, cache):
    with BatchServer() as server:
        server.uploads = [failed(status, f"no files for {KEY}")]
        with pytest.raises(InputError, match="leave `batch` out") as caught:
            asked(server, cache, ["a"])
        assert asked(server, cache, ["a"]) == answers(["a"])
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_a_batch_that_was_refused_is_not_looked_for(cache):
    makings = [failed(400, "what window?"), None]
    with BatchServer(course=lambda number: Course(making=makings[number])) as server:
        with pytest.raises(InputError, match="what window"):
            asked(server, cache, ["a"])
        assert noted(cache) == []


def test_a_file_that_the_provider_has_deleted_holds_nothing(cache):
    with BatchServer(course=lambda number: Course(deleted=number == 0)) as server:
        ledger = Ledger()
        assert asked(server, cache, ["a"], ledger=ledger, prices=PRICES, max_tokens=20) == answers(["a"])
    assert len(server.made) == 2
    assert ledger.dollars_unreported == pytest.approx(0.023)


def test_lines_end_at_line_feeds_alone(cache):
    """Whatever else separates lines of text may stand in an answer."""
    said = "a\u2028b\x85c\u2029d\x0be\rf\ng"
    with BatchServer(lambda a: Act(body=completion(said))) as server:
        assert asked(server, cache, ["a"]) == [Reply(text=said, status="ok")]


# Waiting and going on


def test_a_run_that_waits_too_long_stops_and_the_next_one_goes_on(cache):
    changes = {"prices": PRICES, "max_tokens": 20}
    with BatchServer() as server:
        server.held = True
        ledger = Ledger()
        with pytest.raises(WorkError, match=r"batch-0 is in_progress after 0.1 s; the same command waits on"):
            asked(server, cache, TEXTS, batch={"max_wait": 0.1}, ledger=ledger, **changes)
        assert ledger.dollars_unreported == pytest.approx(7 * 0.023)
        assert noted(cache) == [("batch-0",)]
        server.held = False
        again = Ledger()
        assert asked(server, cache, [*TEXTS[:3], "new"], ledger=again, **changes) == answers([*TEXTS[:3], "new"])
        assert [len(server.lines(i)) for i in range(2)] == [7, 1]
        assert asked(server, cache, TEXTS, **changes) == answers(TEXTS)
    assert len(server.made) == 2
    assert (again.resumed, again.requests) == (3, 1)
    assert again.dollars == pytest.approx(8 * 0.015)  # the other four were paid for too


CHILD = """
import sys
from pathlib import Path
from hasse.stages.chat.ask import ask
from hasse.stages.chat.money.budget import Account
from hasse.stages.chat.settings import ChatSettings
settings = ChatSettings(model="m", base_url=sys.argv[1], api_key_variable="CHAT_KEY", cache=Path(sys.argv[2]),
                        batch={"poll_seconds": 0.02, "max_requests": 4})
list(ask([("Be short.", str(i)) for i in range(7)], settings, payer=Account()))
"""


def killed(server, cache, reached):
    with subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(cache)], cwd=ROOT) as child:
        end = time.monotonic() + 60
        while not reached():
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)


def test_killed_while_waiting_the_next_run_finds_its_batches(cache):
    with BatchServer() as server:
        server.held = True
        killed(server, cache, lambda: server.looks >= 5)
        assert noted(cache) == [("batch-0",), ("batch-1",)]
        assert server.answered == {}
        server.held = False
        ledger = Ledger()
        assert asked(server, cache, TEXTS, ledger=ledger) == answers(TEXTS)
    assert len(server.made) == 2
    assert set(server.answered.values()) == {1}
    assert (ledger.requests, ledger.resumed) == (0, 7)
    assert noted(cache) == []


def test_killed_before_it_heard_of_its_batch_the_next_run_finds_it_among_others(cache):
    """The server has made it, and its answer is on the way; five batches of somebody else's are made afterwards."""
    with BatchServer(course=lambda number: Course(making=Act(delay=60, body={}) if number == 0 else None)) as server:
        killed(server, cache, lambda: server.made)
        assert noted(cache) == [(None,)]
        server.made += [{"id": f"other-{i}", "status": "completed", "input_file_id": f"other-{i}"} for i in range(5)]
        assert asked(server, cache, TEXTS) == answers(TEXTS)
    assert [batch["id"] for batch in server.made if "endpoint" in batch] == ["batch-0", "batch-6"]
    assert [len(server.lines(i)) for i in (0, 6)] == [4, 3]
    assert set(server.answered.values()) == {1}


def test_a_file_that_never_became_a_batch_is_submitted_anew(cache):
    with BatchServer(course=lambda number: Course(making=Act(delay=60, body={}) if number == 0 else None)) as server:
        killed(server, cache, lambda: server.made)
        server.made.clear()
        server.course = lambda number: Course()
        assert asked(server, cache, TEXTS) == answers(TEXTS)
        assert [len(server.lines(i)) for i in range(len(server.made))] == [7]


def test_a_batch_that_the_key_cannot_see_is_not_paid_for_again(cache):
    with BatchServer() as server:
        server.held = True
        killed(server, cache, lambda: server.looks >= 1)
        hidden, server.made = server.made, []
        with pytest.raises(InputError, match=r"batch batch-0, which was submitted: .*404.*delete its row"):
            asked(server, cache, TEXTS)
        server.made, server.held = hidden, False
        assert asked(server, cache, TEXTS) == answers(TEXTS)
    assert set(server.answered.values()) == {1}


def test_an_iterator_left_early_leaves_the_batch(cache):
    with BatchServer() as server:
        asked(server, cache, ["known"])
        server.held = True
        replies = ask([("Be short.", text) for text in ("known", *TEXTS)], settings_for(server, cache), payer=Account())
        assert next(replies).text == "Answer to known"
        while server.looks < 5:
            time.sleep(0.01)
        replies.close()
        time.sleep(0.2)  # the server may yet have to read what was sent
        looks = server.looks
        time.sleep(0.2)
        assert server.looks == looks
        server.held = False
        assert asked(server, cache, TEXTS) == answers(TEXTS)
    assert set(server.answered.values()) == {1}


# Money, settings, several answers


def test_a_budget_is_kept_at_the_batch_s_price_and_used_up(cache):
    """0.023 dollars at most a question and 0.015 in truth, half of it in a batch: of 0.06 dollars 5 go up first, and

    2 more when the first have turned out cheaper.
    """
    changes = {"prices": PRICES, "max_tokens": 20, "batch": {"price_factor": 0.5}}
    with BatchServer() as server:
        ledger = Ledger()
        texts = [*TEXTS, "7", "8"]
        found = asked(server, cache, texts, ledger=ledger, budget_usd=0.06, **changes)
        assert [len(server.lines(i)) for i in range(len(server.made))] == [5, 1, 1]
        assert [reply.status for reply in found] == ["ok"] * 7 + ["budget_stopped"] * 2
        assert ledger.dollars == pytest.approx(7 * 0.0075)
        again = Ledger()
        assert asked(server, cache, texts, ledger=again, budget_usd=0.06, **changes) == answers(texts)
    assert again.cached == 7
    assert set(server.answered.values()) == {1}


def test_a_batch_of_an_earlier_run_counts_towards_the_cap(cache):
    """Its four questions may cost 0.092 dollars, more than may be spent, and come to 0.06; another may cost 0.023."""
    changes = {"prices": PRICES, "max_tokens": 20}
    with BatchServer() as server:
        server.held = True
        with pytest.raises(WorkError):
            asked(server, cache, TEXTS[:4], batch={"max_wait": 0.1}, ledger=Ledger(), **changes)
        server.held = False
        ledger = Ledger()
        found = asked(server, cache, TEXTS[:5], ledger=ledger, budget_usd=0.08, **changes)
    assert [reply.status for reply in found] == ["ok"] * 4 + ["budget_stopped"]
    assert ledger.dollars == pytest.approx(0.06)


def test_batches_need_a_cache_and_bear_no_limits_of_single_requests(cache, monkeypatch):
    direct = ChatSettings(model="m", api_key_variable="CHAT_KEY", batch={}, prices=PRICES)
    with pytest.raises(InputError, match="without a cache a run that is stopped would pay twice"):
        list(ask([("", "a")], direct, payer=Account()))
    with pytest.raises(ValidationError, match="tokens_per_minute, deadline cannot hold"):
        ChatSettings(model="m", batch={}, cache=cache, deadline=3, tokens_per_minute=5)
    assert key_of(ChatSettings(model="m", batch={}, cache=cache)) == key_of(ChatSettings(model="m"))
    monkeypatch.setenv(VARIABLE, str(cache))
    assert ChatSettings(model="m", batch={}).cache_path == cache


def test_the_key_stands_nowhere(cache, caplog):
    """Although the server says it wherever it can."""
    caplog.set_level(0)
    said = f"the key {KEY} is bad"
    acts = {"ok": Act(body=completion(said)), "500": failed(500, said), "400": failed(400, said)}
    ends = [Course(), Course(), Course(), Course(), Course(end="failed", errors=({"message": said},))]
    shown = []
    with BatchServer(lambda a: acts[a.text], lambda number: ends[min(number, 4)]) as server:
        shown += [repr(asked(server, cache, ["ok", "500"])), repr(settings_for(server, cache))]
        for text in ("400", "500"):
            with pytest.raises(InputError) as caught:
                asked(server, cache, [text])
            shown += [str(caught.value), "".join(traceback.format_exception(caught.value))]
    assert "the key [key] is bad" in shown[0]
    assert "the key [key] is bad" in shown[2]
    assert "the key [key] is bad" in shown[4]
    shown += [caplog.text, *(path.read_bytes().decode("latin-1") for path in cache.parent.iterdir())]
    assert [text for text in shown if KEY in text] == []


def test_a_sampler_s_answers_come_by_batch(cache):
    prompts = [Prompt(prompt_id=text, text=text, source="s", cluster_id=text, split="train") for text in TEXTS]
    with BatchServer(course=lambda number: Course(end="expired", share=0.5) if number == 0 else Course()) as server:
        chat = settings_for(server, cache).model_dump(exclude={"temperature"})
        settings = openai.Settings(**chat, num_samples=2, logprobs=True)
        rows = [list(openai.sample(prompts, settings, None, payer=Account())) for _ in range(2)]
    assert rows[0] == rows[1]
    assert [[c.text for c in row] for row in rows[0]] == [[f"Answer {i} to {text}" for i in range(2)] for text in TEXTS]
    assert {c.logprob_sum for row in rows[0] for c in row} == {-0.25 * len("Answer0to1")}
    assert set(server.answered.values()) == {1}
