"""Through how many functions of the project a question passes on its way from a stage to the endpoint."""

import asyncio
import inspect
import sys
import threading
from pathlib import Path

import httpx2
import pytest

from hasse.stages.chat.ask import ask, converse
from hasse.stages.chat.money.budget import Account
from hasse.stages.chat.request import question
from hasse.stages.chat.settings import VARIABLE, ChatSettings
from tests.stages.chat_server import Act, ChatServer

MOST_FRAMES = 6
ROOT = Path(inspect.getfile(converse)).resolve().parents[2]
LAYERS = [ROOT / layer for layer in ("data", "pipeline", "stages", "flows")]


@pytest.fixture
def paths(monkeypatch):
    """For each request that httpx sends: the project's frames above it, across the tasks and threads in between."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.delenv(VARIABLE, raising=False)
    found = []
    started_by: dict[object, list[str]] = {}

    def frames():
        here, names, task = sys._getframe(1), [], running_task()
        while here is not None:
            if here.f_code is asyncio.Handle._run.__code__ and task in started_by:
                return names + started_by[task]  # the event loop's own frames say nothing of who made the task
            if any(Path(here.f_code.co_filename).resolve().is_relative_to(layer) for layer in LAYERS):
                names.append(here.f_code.co_qualname)
            here = here.f_back
        return names + started_by.get(threading.current_thread(), [])

    start, create_task, send = threading.Thread.start, asyncio.BaseEventLoop.create_task, httpx2.AsyncClient.send

    def start_and_note(thread):
        started_by[thread] = frames()
        start(thread)

    def create_and_note(loop, *args, **kwargs):
        task = create_task(loop, *args, **kwargs)
        if loop.is_running():
            started_by[task] = frames()
        return task

    async def send_and_note(client, *args, **kwargs):
        found.append(frames())
        return await send(client, *args, **kwargs)

    monkeypatch.setattr(threading.Thread, "start", start_and_note)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_task", create_and_note)
    monkeypatch.setattr(httpx2.AsyncClient, "send", send_and_note)
    return found


def running_task():
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


def conversation(text):
    ((first,),) = yield [question("", text, None)]
    ((second,),) = yield [question("", first.text, None)]
    return second.text


def test_a_question_passes_few_functions_from_the_stage_to_the_endpoint(paths):
    with ChatServer(lambda asked: Act(status=500) if asked.tried == 1 else Act()) as server:
        settings = ChatSettings(model="m", base_url=server.url)
        found = list(converse(map(conversation, "abc"), settings, payer=Account()))
        found += [reply.text for reply in ask([("", "d")], settings, payer=Account())]
    assert found == [f"Answer to Answer to {text}" for text in "abc"] + ["Answer to d"]
    assert len(paths) == 2 * (2 * 3 + 1)
    for frames in paths:
        assert (frames[0], frames[-1]) == ("Endpoint.send", "iterate")
        assert len(frames) <= MOST_FRAMES, frames
