"""How near the judge stage comes to concurrency / latency, beside a bare client, against a server on loopback.

python -m tests.benchmarks.teaching [--prompts N] [--rounds N] [--concurrency N] [--latency SECONDS]

The server answers after a fixed time, in a process of its own on the same cores. A round is the whole stage, from
prompts to published judgements with two questions a prompt (`asking`: from its first question to its last reply, as the
server sees it), then a bare client with the same questions.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from hasse.pipeline.run import perform
from hasse.pipeline.store import Store
from tests.stages.chat_server import Act, ChatServer
from tests.stages.judge_step import given, judging, performed, say

ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1920)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(_serve(asked.latency))
        return
    os.environ["CHAT_KEY"] = "none-is-needed"
    _round(asked.concurrency, asked.concurrency, asked.latency)  # imports, and whatever else comes once
    rounds = [_round(asked.prompts, asked.concurrency, asked.latency) for _ in range(asked.rounds)]
    ideal = asked.concurrency / asked.latency
    for name in ("stage", "asking", "bare"):
        rate = median(r[name] for r in rounds)
        print(f"{name:6} {rate:5.0f} replies/s, {rate / ideal:.0%} of {ideal:.0f}")
    ratios = [r["asking"] / r["bare"] for r in rounds]
    print(f"asking / bare {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    used, bare = (median(r[name] for r in rounds) for name in ("stage_ms", "bare_ms"))
    print(f"processor time a reply: stage {used:.2f} ms, bare {bare:.2f} ms")
    requests = max(r["requests"] for r in rounds)
    print(f"requests a prompt {requests:.3f}, planned 2; at once {rounds[-1]['peak']} at most")


def _round(num_prompts: int, concurrency: int, latency: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, _server(latency) as url:
        store = Store(folder)
        perform(store, given(num_prompts), {}, progress=lambda done, total: None)
        step = judging(url, concurrency=concurrency, max_tokens=512, timeout=60)
        stage, stage_ms = _timed(2 * num_prompts, lambda: performed(store, num_prompts, step))
        with urllib.request.urlopen(url) as seen:
            counts = json.load(seen)
        bodies = [_body(question) for question in counts["answered"]]
        bare, bare_ms = _timed(len(bodies), lambda: asyncio.run(_ask_all(url, bodies, concurrency)))
    return {
        "stage": stage,
        "asking": counts["requests"] / counts["seconds"],
        "bare": bare,
        "stage_ms": stage_ms,
        "bare_ms": bare_ms,
        "requests": counts["requests"] / num_prompts,
        "peak": counts["peak"],
    }


def _timed(number: int, work: Any) -> tuple[float, float]:
    """(how many a second, milliseconds of processor time each)"""
    started, used = time.perf_counter(), time.process_time()
    work()
    return number / (time.perf_counter() - started), 1000 * (time.process_time() - used) / number


def _body(question: str) -> bytes:
    messages = [{"role": "system", "content": "Judge."}, {"role": "user", "content": question}]
    return json.dumps({"model": "m", "messages": messages, "max_completion_tokens": 512}).encode()


async def _ask_all(url: str, bodies: list[bytes], concurrency: int) -> None:
    """As little as HTTP takes: a connection a worker, and each reply read as JSON."""
    left = iter(bodies)
    address = urlsplit(url)

    async def ask_on_one_connection() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for body in left:
            head = f"POST {address.path}/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            found = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(found.partition("content-length:")[2].partition("\r\n")[0])
            assert json.loads(await reader.readexactly(length))["choices"]
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(ask_on_one_connection())


@contextlib.contextmanager
def _server(latency: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.teaching", "--serve", "--latency", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def _serve(latency: float) -> None:
    server = ChatServer(lambda _: Act(delay=latency), say)
    listening = await server.listen()
    print(server.url, flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    main()
