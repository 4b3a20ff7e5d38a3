"""A run talks to nobody but the server it was given: every connection of every process below it is looked at."""

import os
import subprocess
import sys

import pytest

WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[:2]
    else:
        return
    if isinstance(address, tuple) and str(address[0]) not in ("127.0.0.1", "::1", "localhost", "None"):
        with open(os.environ["HASSE_TEST_OUTSIDE"], "a") as file:
            file.write(f"{os.getpid()} {event} {address}\\n")
        raise ConnectionRefusedError(f"the test forbids {address}")

sys.addaudithook(watch)
with open(os.environ["HASSE_TEST_OUTSIDE"] + ".started", "a") as file:
    file.write(f"{os.getpid()}\\n")
"""


@pytest.fixture
def watched(tmp_path):
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    return {"PYTHONPATH": str(tmp_path / "watch"), "HASSE_TEST_OUTSIDE": str(tmp_path / "outside")}


@pytest.mark.slow
def test_a_run_opens_no_connection_to_the_outside(hasse, up, watched, tmp_path):
    environment = {"PREFECT_API_URL": f"{up.url}/api", "PREFECT_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    hasse("run", str(hasse.recipe), env={**environment, **watched})
    # The command, the process from which stages are forked, and multiprocessing's own helper.
    assert len((tmp_path / "outside.started").read_text().split()) >= 2
    assert not (tmp_path / "outside").exists(), (tmp_path / "outside").read_text()


def test_the_watch_sees_a_connection(watched, tmp_path):
    code = "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **watched}, capture_output=True, text=True)
    assert "the test forbids" in done.stderr
    assert "192.0.2.1" in (tmp_path / "outside").read_text()


def test_what_is_started_reports_to_nobody():
    import hasse.flows  # noqa: F401  it changes the environment
    from hasse.flows.environment import QUIET, server_environment

    assert {name: os.environ[name] for name in QUIET} == QUIET
    found = server_environment(url="http://127.0.0.1:1", home="/h", auth=None)
    assert {name: found[name] for name in QUIET} == QUIET
    assert found["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:1"
    assert found["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
