"""A chat endpoint on loopback that misbehaves as a plan says, and keeps what it saw from its own side.

`with ChatServer(plan) as server:` runs it in a thread; `python -m tests.stages.chat_server SECONDS` in a process of its
own, where each answer takes so long and GET returns the counts.
"""

import asyncio
import json
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request: its user message, which try of it this is, how many are under way, and when it came."""

    text: str
    tried: int
    running: int
    time: float
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Act:
    """What is done; `body` None is a good answer. `cut` ends the connection in the middle of it."""

    status: int = 200
    body: bytes | dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False


GOOD = Act()
SLOW = 2.5  # longer than the time-out of the tests that ask for it


def completion(
    text: str | None, *, reason: str = "stop", refusal: str | None = None, tokens: tuple[int, int] = (10, 5)
):
    """A body as the protocol has it."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


def choices(*texts: str, logprobs: bool = False, tokens: int = 5):
    """A body with several answers, in another order than their index; each word is a token of -0.25 nats a letter."""
    body = completion(None, tokens=(10, tokens * len(texts)))
    body["choices"] = [
        {
            "index": i,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": [{"token": w, "logprob": -0.25 * len(w)} for w in text.split()]}
            if logprobs
            else None,
        }
        for i, text in reversed(list(enumerate(texts)))
    ]
    return body


def good(asked: Asked, say: Callable[[str], str] = lambda text: f"Answer to {text}"):
    """What a request asks for: its number of answers, with log-probs or not."""
    num, logprobs = asked.body.get("n", 1), asked.body.get("logprobs", False)
    texts = [say(asked.text)] if num == 1 else [f"Answer {i} to {asked.text}" for i in range(num)]
    limit = asked.body.get("max_completion_tokens") or asked.body.get("max_tokens", 5)
    return choices(*texts, logprobs=logprobs, tokens=min(5, limit))


def failed(status: int, message: str = "no", **headers: str) -> Act:
    return Act(status=status, body={"error": {"message": message, "type": "error", "code": "x"}}, headers=headers)


MISBEHAVIOUR = [
    failed(429, **{"retry-after-ms": "20"}),
    failed(429),
    failed(500),
    failed(503),
    Act(cut=True),
    Act(delay=SLOW),
    Act(body=b"{'no json'"),
    Act(body=completion("x") | {"choices": []}),
    Act(body=completion("half an answ", reason="abort")),
]


def unreliable(seed: int, share: float = 0.3) -> Callable[[Asked], Act]:
    """Misbehaves on a share of the requests, the same ones whatever their order."""

    def plan(asked: Asked) -> Act:
        chance = random.Random(f"{seed} {asked.text} {asked.tried}")
        return chance.choice(MISBEHAVIOUR) if chance.random() < share else GOOD

    return plan


class ChatServer:
    """`say`: user message -> text of a good answer."""

    def __init__(
        self,
        plan: Callable[[Asked], Act] = lambda _: GOOD,
        say: Callable[[str], str] = lambda text: f"Answer to {text}",
    ):
        self.plan, self.say = plan, say
        self.asked: list[Asked] = []
        self.answered: Counter[str] = Counter()  # whole good answers that somebody was there to read
        self.abandoned = 0  # requests whose client had gone when the answer was ready
        self.running = 0
        self.last_answer = 0.0  # when
        self.hold_after: int | None = None  # so many good answers; then none until `thaw`, which drops those held
        self._tries: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> "ChatServer":
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def thaw(self) -> None:
        self.hold_after = None

    def other(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> Act:
        """What is no question: here, how many there were."""
        peak, seconds = max(a.running for a in self.asked), self.last_answer - self.asked[0].time
        counts = {"peak": peak, "requests": len(self.asked), "seconds": seconds, "answered": dict(self.answered)}
        return Act(body=counts)

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=512)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        return server

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.listen())
        started.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        method, path, _ = first.split()
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if not path.endswith("/chat/completions"):
            act = self.other(method, path, content, headers)
            await asyncio.sleep(act.delay)
            return await (self._cut(writer) if act.cut and act.body is None else self._write(writer, act))
        self.running += 1
        try:
            return await self._act(self.note(json.loads(content), headers), reader, writer)
        finally:
            self.running -= 1

    def note(self, body: dict[str, Any], headers: dict[str, str]) -> Asked:
        text = body["messages"][-1]["content"]
        self._tries[text] += 1
        tried, running, now = self._tries[text], self.running, time.monotonic()
        self.asked.append(Asked(text=text, tried=tried, running=running, time=now, body=body, headers=headers))
        return self.asked[-1]

    async def _act(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        act = self.plan(asked)
        await asyncio.sleep(act.delay)
        if self.hold_after is not None and self.answered.total() >= self.hold_after:
            while self.hold_after is not None:
                await asyncio.sleep(0.01)
            return False
        if reader.at_eof():
            self.abandoned += 1
            return False
        if act.cut:
            return await self._cut(writer)
        if act.body is None:
            self.answered[asked.text] += 1
            self.last_answer = time.monotonic()
            act = replace(act, body=good(asked, self.say))
        return await self._write(writer, act)

    async def _cut(self, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{")
        await writer.drain()
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()
        return False

    async def _write(self, writer: asyncio.StreamWriter, act: Act) -> bool:
        data = act.body if isinstance(act.body, bytes) else json.dumps(act.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **act.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sent = data[: len(data) // 2] if act.cut else data
        writer.write(f"HTTP/1.1 {act.status} Status\r\n{head}\r\n".encode() + sent)
        await writer.drain()
        return not act.cut


async def main(seconds: float) -> None:
    server = ChatServer(lambda _: Act(delay=seconds))
    listening = await server.listen()
    print(server.url, flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
