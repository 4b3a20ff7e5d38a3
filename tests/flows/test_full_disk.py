"""A disk that is really full, at several levels: the promised message, exit code 1, and the same command goes on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hasse.flows.cli import main as cli
from hasse.flows.run import run as walk
from hasse.pipeline.store import Store
from hasse.stages.chat.cache.replies import Cache
from hasse.stages.chat.reply import Reply
from tests.flows.conftest import TINY
from tests.flows.test_damage import light

PAGE = os.sysconf("SC_PAGESIZE")
DISK = 2**21
LEVELS = (0, 1, 3, 6, 10, 16, 24)
"""Pages that are free when the run begins."""


@pytest.fixture
def disk(tmp_path):
    """A small file system in memory; a test is skipped where this process may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(asked, capture_output=True, text=True) if shutil.which("mount") else None
    if mounted is None or mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip() if mounted else 'no command mount'}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, free: int) -> Path:
    """Leave so many pages free."""
    filler = disk / "filler"
    filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - free * PAGE))
    return filler


@pytest.fixture
def hasse(tmp_path, monkeypatch, capsys):
    """(store) -> exit code and all that was printed, of the command in this process, without the steps of models."""
    values = {**TINY, "generate": {"groups": [{"sampler": "dataset"}]}}
    values["train"] = {**TINY["train"], "arms": {"sft": {"method": "sft"}}}
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(values))
    monkeypatch.setattr(walk, "plan", lambda recipe: list(light(recipe)))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    def run(store):
        monkeypatch.setattr(sys, "argv", ["hasse", "run", str(recipe), "--store", str(store), "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out + captured.err

    return run


def made(store):
    """ref -> what the artifact holds."""
    found = [Store(store).open(path.parent) for path in store.glob("*/[!.]*/manifest.json")]
    return {artifact.ref: artifact.manifest.identity for artifact in found}


def test_a_full_disk_is_told_and_the_same_command_goes_on(hasse, disk, tmp_path):
    assert hasse(tmp_path / "whole")[0] == 0
    expected, failed = made(tmp_path / "whole"), 0
    for free in LEVELS:
        store = disk / "store"
        filler = fill(disk, free=free)
        code, said = hasse(store)
        assert "Traceback" not in said
        if code:
            failed += 1
            assert code == 1, said
            assert "No space left on device" in said
            assert "Finished chunks and artifacts are kept; make room (`hasse prune` shows what can go)" in said
        assert made(store).items() <= expected.items()
        filler.unlink()
        assert hasse(store)[0] == 0
        assert made(store) == expected
        shutil.rmtree(store)
    assert failed >= 4


@pytest.mark.parametrize("free", LEVELS)
def test_replies_that_cannot_be_kept_are_a_full_disk_and_no_fault_of_the_input(disk, free):
    filler = fill(disk, free=free)
    path = disk / "replies" / "replies.sqlite"
    with pytest.raises(Exception, match=r"the cache of replies .* could not be written: .*make room") as raised:
        Cache(path).put("key", [Reply(text="x" * 30 * PAGE, status="ok")], None)
    assert raised.value.exit_code == 1  # type: ignore[attr-defined]
    filler.unlink()
    cache = Cache(path)
    cache.put("key", [Reply(text="whole", status="ok")], None)
    assert [reply.text for reply in cache.get("key")] == ["whole"]
    cache.close()
