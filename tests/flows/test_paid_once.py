"""What was paid for is not paid for again: not after a kill, after `hasse prune`, or after a change of a docstring."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hasse.stages.chat.settings import VARIABLE
from tests.stages.chat_server import Act, ChatServer
from tests.stages.judge_step import PRICES, say

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CHAT_KEY", "sk-live-0123456789abcdef")
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def judged(hasse):
    """(server) -> the arguments that judge, by it, the experts' answers to 24 prompts, which are in the store."""

    def prepare(server):
        chat = {"model": "m", "base_url": server.url, "api_key_variable": "CHAT_KEY", "prices": PRICES}
        judge = {"teacher": "openai", "chat": {**chat, "concurrency": 2, "max_tokens": 20, "budget_usd": 9}}
        arms = {**hasse.tiny["train"], "arms": {"sft": {"method": "sft"}}}
        report = {**hasse.tiny["report"], "baselines": ["student"]}
        groups = {"groups": [{"sampler": "dataset"}]}
        hasse.write({**hasse.tiny, "generate": groups, "judge": judge, "train": arms, "report": report})
        for stage in ("prompts", "student", "generate"):
            hasse("run", hasse.recipe, "--only", stage)
        return ["run", str(hasse.recipe), "--only", "judge"]

    return prepare


def until(reached, seconds=120):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def with_other_docstrings(folder):
    """A copy of the code as a commit would leave it that says something else in the docstrings alone."""
    shutil.copytree(ROOT / "python/hasse", folder / "hasse", ignore=shutil.ignore_patterns("__pycache__"))
    changed = folder.rglob("*.py")
    for path in changed:
        text = path.read_text()
        if text.startswith('"""'):
            path.write_text(text.replace('"""', '"""In other words. ', 1))
    return folder


def test_a_question_is_counted_once_over_a_kill_a_prune_and_a_change_of_docstrings(judged, hasse, tmp_path):
    with ChatServer(say=say) as server:
        command = judged(server)
        server.hold_after = 8
        with hasse.start(*command) as process:
            until(lambda: server.answered.total() >= 8 and len(server.asked) >= 10)
            process.send_signal(signal.SIGKILL)
        server.thaw()
        hasse("prune", "--keep-runs", "1", "--yes")
        assert [(row["status"], row["replies"]) for row in hasse.json("replies")] == [("ok", 8)]
        hasse(*command)
        asked = len(server.asked)
        code = with_other_docstrings(tmp_path / "code")
        environment = {**os.environ, "HASSE_STORE": str(hasse.store)}
        other = [sys.executable, "-m", "hasse.flows.cli.main", *command]
        subprocess.run(other, cwd=code, env=environment, check=True, capture_output=True)
        assert len(server.asked) == asked
        assert set(server.answered.values()) == {1}
        assert sum(row["replies"] for row in hasse.json("replies")) == len(server.answered) >= 24


def test_replies_are_deleted_by_name_alone_and_asked_anew_by_the_user_s_wish(judged, hasse):
    with ChatServer(lambda _: Act(), say) as server:
        command = judged(server)
        hasse(*command)
        asked = len(server.asked)
        assert "Nothing was deleted" in hasse("prune", "--replies")
        assert (hasse.store / "replies" / "replies.sqlite").exists()
        hasse(*command, "--from-stage", "judge")
        assert len(server.asked) == 2 * asked
        hasse("prune", "--replies", "--yes")
        assert list((hasse.store / "replies").iterdir()) == []
        assert hasse.json("replies") == []


def test_an_address_with_a_secret_in_it_is_no_setting(hasse):
    """Wherever in the recipe it stands; the message does not say it, and nothing is stored."""
    addresses = {
        "judge": {"teacher": "openai", "chat": {"model": "m", "base_url": "https://user:pw-secret@host/v1"}},
        "generate": {"groups": [{"sampler": "openai", "model": "m", "base_url": "https://h/v1?api_key=pw-secret"}]},
        "source": {"kind": "entailment", "path": "https://user:pw-secret@host/data.jsonl"},
        "execution": {"executor": "ray", "address": "ray://user:pw-secret@host:10001"},
    }
    for section, values in addresses.items():
        hasse.write({**hasse.tiny, section: values})
        said = hasse("run", hasse.recipe, "--dry-run", code=2)
        assert f"{section}." in said
        assert "pw-secret" not in said
        assert not hasse.store.exists()
