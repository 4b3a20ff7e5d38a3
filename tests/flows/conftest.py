"""A whole run in small: a student of a few thousand parameters, so that every stage really runs."""

import functools
import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests.flows.prefect_up import Up
from tests.flows.warm import Command, Warm

ROOT = Path(__file__).parents[2]

TINY = {
    "name": "tiny",
    "source": {"kind": "entailment", "num_pretrain": 48, "num_train": 24, "num_validation": 6, "num_test": 12},
    "task": {"labels": ["entailment", "neutral", "contradiction"]},
    "prompts": {"near_duplicate_threshold": 1.0},
    "student": {
        "scratch": {
            "vocab_size": 300,
            "hidden_size": 16,
            "num_layers": 1,
            "num_heads": 2,
            "context_length": 160,
            "optimiser": {"steps": 4, "prompts_per_step": 16, "learning_rate": 3e-3},
        }
    },
    "generate": {
        "groups": [{"sampler": "dataset"}, {"sampler": "transformers", "num_samples": 2, "max_tokens": 8}],
        "chunk_size": 8,
    },
    "judge": {"teacher": "rule", "chunk_size": 5},
    "order": {"strategy": "lp", "chunk_size": 5},
    "examples": {"max_length": 160},
    "train": {
        "steps": 6,
        "prompts_per_step": 4,
        "learning_rate": 1e-3,
        "save_steps": 1,
        "arms": {"sft": {"method": "sft"}, "rescue": {"method": "rescue"}},
    },
    "evaluate": {"max_tokens": 8},
    "report": {"baselines": ["student", "sft"], "num_resamples": 100, "num_examples": 2},
}


ZONE = ZoneInfo("Europe/Berlin")
NIGHTS = TINY | {
    "name": "nights",
    "train": TINY["train"] | {"steps": 2, "arms": {"sft": {"method": "sft"}}},
    "report": TINY["report"] | {"baselines": ["student"]},
    "nightly": {"timezone": ZONE.key, "cron": f"30 {(datetime.now(ZONE).hour + 12) % 24} * * *"},
}
"""The tiny recipe with nights, none of which starts while tests run."""


ENVIRONMENT = {"COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
KEY = {"CHAT_KEY": "sk-live-0123456789abcdef"}
"""The key that tests of endpoints set. Child processes of warm commands always have it."""


@functools.cache
def warm_environment() -> dict[str, str]:
    """The environment in which the first command was started."""
    return _compared({**os.environ, **ENVIRONMENT})


@functools.cache
def warm() -> Warm:
    return Warm(warm_environment() | KEY)


def _compared(environment: dict[str, str]) -> dict[str, str]:
    apart = {"HASSE_STORE", "PREFECT_API_URL", "PYTEST_CURRENT_TEST", *KEY}
    return {name: value for name, value in environment.items() if name not in apart}


class Hasse:
    """The command, run as a user runs it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = folder / "store"
        self.recipe = folder / "tiny.yaml"
        self.tiny = TINY
        self.write(TINY)

    def write(self, values) -> None:
        self.recipe.write_text(yaml.safe_dump(values))

    def start(self, *arguments: str, **options) -> subprocess.Popen | Command:
        """The running command. One with options of its own, or with plugs, is started cold."""
        environment = {**os.environ, **ENVIRONMENT, "HASSE_STORE": str(self.store)}
        environment.pop("PREFECT_API_URL", None)
        given = [*map(str, arguments)]
        if not options and "--plugin" not in given and warm_environment() == _compared(environment):
            return warm().start(given, environment)
        environment |= options.pop("env", {})
        # A shell that runs the tests in the background has them ignore SIGINT, and children inherit that.
        options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        return subprocess.Popen(
            [sys.executable, "-m", "hasse.flows.cli.main", *given],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def __call__(self, *arguments: str, code: int = 0, **options) -> str:
        """Standard output and error together; fails unless the exit code is `code`."""
        return "".join(self._finished(*arguments, code=code, **options))

    def output(self, *arguments: str) -> str:
        """Standard output alone."""
        return self._finished(*arguments, code=0)[0]

    def json(self, *arguments: str):
        return json.loads(self._finished(*arguments, "--json", code=0)[0])

    def _finished(self, *arguments: str, code: int, **options) -> tuple[str, str]:
        process = self.start(*arguments, **options)
        out, error = process.communicate(timeout=500)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{error}"
        return out, error

    def run(self, *arguments: str):
        """Run the tiny recipe; gives step -> what is recorded of it."""
        found = self.json("run", str(self.recipe), *arguments)
        return {step["step"]: step for step in found["steps"]}


@pytest.fixture(scope="session")
def make_hasse():
    return Hasse


@pytest.fixture
def hasse(tmp_path):
    return Hasse(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One finished run that tests may look at but not change."""
    command = Hasse(tmp_path_factory.mktemp("finished"))
    command.steps = command.run()
    return command


@pytest.fixture(scope="session")
def up(tmp_path_factory):
    """One server with its flows for all tests; it leaves nothing behind."""
    folder = tmp_path_factory.mktemp("up")
    tiny = folder / "tiny.yaml"
    tiny.write_text(yaml.safe_dump(TINY))
    nights = folder / "nights.yaml"
    nights.write_text(yaml.safe_dump(NIGHTS))
    recipes = [part for name in (tiny, nights, "rescue-demo") for part in ("--recipe", str(name))]
    started = Up(folder, tmp_path_factory.getbasetemp(), *recipes)
    try:
        yield started.wait(deployments=6)
    finally:
        printed = started.stop()
    assert f"UI: {started.url}" in printed
    assert started.process.returncode == 1
    assert started.marked() == {}
