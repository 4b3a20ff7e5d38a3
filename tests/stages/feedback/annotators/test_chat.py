"""The chat annotator against a real HTTP server on loopback that speaks the protocol."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hasse.data.errors import InputError
from hasse.data.records import Candidate, Judgement, Prompt
from hasse.stages.chat.money.budget import Account
from hasse.stages.feedback.annotators import chat
from hasse.stages.feedback.items import AnnotationItem
from hasse.stages.grading import TaskSettings


@pytest.fixture
def server():
    """Answers by what the question holds; keeps every request."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.headers["Authorization"], body))
            asked = body["messages"][1]["content"]
            first = sum(b["messages"][1]["content"] == asked for _, b in seen) == 1
            code = 401 if "forbidden" in asked else 500 if "busy" in asked and first else 200
            if code != 200:
                self.reply(code, {"error": {"message": "no", "type": "error", "code": "x"}})
                return
            text = "Verdict: wrong\nRome is the capital." if "Paris" in asked else "I think so."
            reason = "length" if "long" in asked else "stop"
            message = {"role": "assistant", "content": None if "refuse" in asked else text}
            message["refusal"] = "I will not." if "refuse" in asked else None
            self.reply(
                200,
                {
                    "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
                    "choices": [{"index": 0, "finish_reason": reason, "message": message}],
                },
            )  # fmt: skip

        def reply(self, code, value):
            data = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/v1", seen
    httpd.shutdown()


def item(number, text, answer="Paris"):
    ids = {"prompt_id": f"p{number}", "candidate_id": "student-0"}
    return AnnotationItem(
        prompt=Prompt(text=text, answers=("Rome",), source="s", cluster_id="c", split="train", prompt_id=f"p{number}"),
        candidate=Candidate(**ids, text=answer, source="student"),
        judgement=Judgement(**ids, teacher="rule", correct=False),
    )


def told(server, items, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    asked = {"model": "judge", "base_url": server[0], "api_key_variable": "SOME_KEY", "concurrency": 4}
    return list(chat.annotate(items, chat.Settings(chat=asked), TaskSettings(), payer=Account()))


def test_each_item_ends_as_a_row_in_order(server, monkeypatch):
    found = told(
        server,
        [item(0, "capital?"), item(1, "capital?", "Oslo"), item(2, "refuse"), item(3, "long"), item(4, "busy")],
        monkeypatch,
    )
    assert [(f.prompt_id, f.status, f.verdict) for f in found] == [
        ("p0", "ok", "wrong"),
        ("p1", "unparsable", None),
        ("p2", "refused", None),
        ("p3", "truncated", "wrong"),
        ("p4", "ok", "wrong"),
    ]
    assert found[0].text == "The answer is wrong. Rome is the capital."
    assert (found[0].annotator, found[0].model, len(found[0].prompt_version)) == ("ai", "judge", 16)
    assert {key for key, _ in server[1]} == {"Bearer secret"}
    assert "Rome" in server[1][0][1]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Verdict: wrong. Right would be Paris.", "wrong"),
        ("Verdict: wrong\nRight is Paris.", "wrong"),
        ("Verdict: wrong, since right is Paris.", "wrong"),
        ("Verdict\uff1aright", "right"),
        ("Verdict: 'right'", "right"),
        ("Verdict: wrong - no, right", None),
        ("Verdict: right, but also wrong", None),
        ("Verdict: right wrong", None),
        ("Verdict: right or wrong", None),
        ("Verdict: not right", None),
    ],
)
def test_a_verdict_that_is_taken_back_is_none(reply, verdict):
    stated = chat.VERDICT.match(reply)
    assert (stated and stated[1]) == verdict


def test_what_asking_again_would_not_mend_stops_at_once(server, monkeypatch):
    with pytest.raises(InputError, match=r"refuses requests to 'judge' \(401\)") as caught:
        told(server, [item(0, "forbidden")], monkeypatch)
    assert "secret" not in str(caught.value)
    assert len(server[1]) == 1


def test_a_missing_key_is_named_unless_the_server_is_on_this_machine(server, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    free = {"prices": {"judge": {"free": True}}, "api_key_variable": "NO_SUCH_KEY"}
    there = {"model": "judge", "base_url": "https://host.invalid/v1", **free}
    with pytest.raises(InputError, match="NO_SUCH_KEY"):
        list(chat.annotate([item(0, "x")], chat.Settings(chat=there), TaskSettings(), payer=Account()))
    here = chat.Settings(chat=there | {"base_url": server[0]})
    list(chat.annotate([item(0, "x")], here, TaskSettings(), payer=Account()))
    assert {key for key, _ in server[1]} == {"Bearer no-key-needed"}
