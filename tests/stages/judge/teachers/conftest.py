"""A chat model on loopback that answers by a function of the test."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][1]["content"]
        self.server.chat.questions.append(question)
        self.server.chat.bodies.append(body)
        said = self.server.chat.answer(question)
        said, thinking = said if isinstance(said, tuple) else (said, None)
        if said == "busy":
            self.reply(500, {"error": {"message": "busy", "type": "error", "code": "x"}})
            return
        if said == "malformed":
            self.reply(400, {"error": {"message": "response_format: what is that?", "type": "error", "code": "x"}})
            return
        refused, cut = said == "refuse", said == "cut"
        message = {"role": "assistant", "content": None if refused else said}
        message["refusal"] = "I will not." if refused else None
        message["reasoning_content"] = thinking
        choice = {"index": 0, "finish_reason": "length" if cut else "stop", "message": message}
        self.reply(
            200,
            {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]},
        )

    def reply(self, code, value):
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def chat(monkeypatch):
    """`answer`: question -> text, (text, reasoning_content), or refuse, cut, busy, malformed; `questions`: all that
    were asked, `bodies`: as they were sent; `settings`: of the client.
    """
    monkeypatch.setenv("SOME_KEY", "secret")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    settings = {
        "model": "judge",
        "base_url": f"http://127.0.0.1:{httpd.server_port}/v1",
        "api_key_variable": "SOME_KEY",
        "concurrency": 4,
        "max_retries": 0,
    }
    httpd.chat = SimpleNamespace(answer=None, questions=[], bodies=[], settings=settings)
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    yield httpd.chat
    httpd.shutdown()


@pytest.fixture
def shown():
    """question -> {tag: text} of the answers in it, in order."""
    return lambda question: dict(re.findall(r"\[Answer (\w+)\]\n(.*?)\n\[End of answer \1\]", question, re.DOTALL))
