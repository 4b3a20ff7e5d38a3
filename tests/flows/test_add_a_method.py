"""README's recipe for a method of one's own, followed to the letter in a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def code_block(title):
    section = (ROOT / "README.md").read_text().split(title)[1].split("\n## ")[0]
    block = re.search(r"\n\n((?:    .*\n|\n)+)", section)
    assert block
    return textwrap.dedent(block[1])


def test_a_method_is_one_file(tmp_path, hasse):
    shutil.copytree(ROOT / "python/hasse", tmp_path / "hasse", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "hasse/stages/train/methods/sharp_sft.py").write_text(code_block("### Add a method"))
    arguments = ["run", str(hasse.recipe), "--store", str(tmp_path / "store"), "--json"]
    arguments += ["--set", "train.arms.sharp={method: sharp_sft, power: 3}"]
    found = subprocess.run(
        [sys.executable, "-m", "hasse.flows.cli.main", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert '"arm": "sharp"' in found.stdout
    listed = subprocess.run(
        [sys.executable, "-m", "hasse.flows.cli.main", "methods"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "sharp_sft" in listed.stdout
    assert "sharp_sft" not in hasse("methods")
