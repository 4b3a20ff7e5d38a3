"""A question that several ask at the same time is asked, and paid for, once."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from hasse.data.errors import WorkError
from hasse.stages.chat.ask import ask
from hasse.stages.chat.cache.file import contents, delete
from hasse.stages.chat.cache.replies import Cache
from hasse.stages.chat.money.budget import Account, Ledger
from hasse.stages.chat.reply import Reply
from hasse.stages.chat.settings import VARIABLE, ChatSettings, Price
from tests.stages.chat_batch_server import BatchServer
from tests.stages.chat_server import Act, ChatServer, failed

ROOT = Path(__file__).parents[3]
TEXTS = [f"{i}" for i in range(12)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    monkeypatch.delenv(VARIABLE, raising=False)


def settings_for(server, **changes):
    asked = {"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY", "concurrency": 4, **changes}
    return ChatSettings.model_validate(asked)


def asked(server, texts, path, ledger=None, **changes):
    payer = Account(replies=path, ledgers={"m": ledger or Ledger()})
    return [r.text for r in ask([("", text) for text in texts], settings_for(server, **changes), payer=payer)]


def at_once(*calls):
    found = {}
    threads = [
        threading.Thread(target=lambda i=i, call=call: found.update({i: call()})) for i, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[i] for i in range(len(calls))]


def test_two_threads_pay_once(tmp_path):
    ledgers = Ledger(), Ledger()
    with ChatServer(lambda _: Act(delay=0.1)) as server:
        found = at_once(*(lambda one=one: asked(server, TEXTS, tmp_path / "c", one) for one in ledgers))
        assert Counter(a.text for a in server.asked) == dict.fromkeys(TEXTS, 1)
    assert found == [[f"Answer to {text}" for text in TEXTS]] * 2
    assert sum(one.requests for one in ledgers) == sum(one.cached for one in ledgers) == len(TEXTS)
    assert not list(tmp_path.glob(".*asking"))


def test_what_one_gives_up_the_other_asks(tmp_path):
    """The first is refused once; the other then asks for itself, and is answered."""
    prices = {"m": Price(free=True)}
    with ChatServer(lambda a: failed(500) if a.tried == 1 else Act(delay=0.05)) as server:
        found = at_once(*[lambda: asked(server, ["a"], tmp_path / "c", max_retries=0, prices=prices)] * 2)
        assert len(server.asked) == 2
    assert sorted(found) == [[""], ["Answer to a"]]


CHILD = """
import sys
from pathlib import Path
from hasse.stages.chat.ask import ask
from hasse.stages.chat.money.budget import Account
from hasse.stages.chat.settings import ChatSettings
settings = ChatSettings(model="m", base_url=sys.argv[1], api_key_variable="CHAT_KEY", concurrency=4)
for reply in ask([("", f"{i}") for i in range(12)], settings, payer=Account(replies=Path(sys.argv[2]))):
    print(reply.text, flush=True)
"""


def child(server, path):
    command = [sys.executable, "-c", CHILD, server.url, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)


def until(reached, seconds=60):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_processes_pay_once(tmp_path):
    with ChatServer(lambda _: Act(delay=0.2)) as server:
        with child(server, tmp_path / "c") as one, child(server, tmp_path / "c") as other:
            said = one.communicate()[0], other.communicate()[0]
        assert Counter(a.text for a in server.asked) == dict.fromkeys(TEXTS, 1)
    assert said == ("".join(f"Answer to {text}\n" for text in TEXTS),) * 2


def test_the_claims_of_a_killed_process_are_void(tmp_path):
    """It holds four when it is killed; while it lives another waits for them."""
    path = tmp_path / "c"
    with ChatServer() as server:
        server.hold_after = 3
        with child(server, path) as process:
            until(lambda: len(server.asked) == 7)
            other = Cache(path)
            claimed = _claimed(path)
            assert len(claimed) >= 4
            assert not other.claim(claimed[0])
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert other.claim(claimed[0])
            other.close()
        server.thaw()
        assert asked(server, TEXTS, path) == [f"Answer to {text}" for text in TEXTS]
        assert set(server.answered.values()) == {1}
    assert not list(tmp_path.glob(".*asking"))


def _claimed(path):
    import sqlite3

    with sqlite3.connect(path) as db:
        return [row[0] for row in db.execute("select key from claim")]


def test_two_callers_by_batches_submit_a_question_once(tmp_path):
    batch = {"poll_seconds": 0.05}
    with BatchServer() as server:
        found = at_once(*[lambda: asked(server, TEXTS, tmp_path / "c", batch=batch)] * 2)
        lines = Counter(line["custom_id"] for i in range(len(server.made)) for line in server.lines(i))
    assert found == [[f"Answer to {text}" for text in TEXTS]] * 2
    assert set(lines.values()) == {1}


def test_older_replies_are_not_used_where_all_is_asked_anew(tmp_path):
    with ChatServer() as server:
        asked(server, ["a"], tmp_path / "c")
        anew = Account(replies=tmp_path / "c", not_before=time.time(), ledgers={"m": Ledger()})
        for _ in range(2):
            list(ask([("", "a")], settings_for(server), payer=anew))
        assert len(server.asked) == 2
        asked(server, ["a"], tmp_path / "c")
        assert len(server.asked) == 2


def test_the_file_is_shown_and_deleted_but_not_while_somebody_asks(tmp_path):
    path = tmp_path / "c"
    assert contents(path) == []
    cache = Cache(path)
    cache.put("k", (Reply(text="x", status="ok"), Reply(text="", status="refused")), None)
    assert [(row["status"], row["replies"]) for row in contents(path)] == [("ok", 1), ("refused", 1)]
    assert cache.claim("other")
    with pytest.raises(WorkError, match="a run is asking"):
        delete(path)
    cache.close()
    delete(path)
    assert list(tmp_path.iterdir()) == []
