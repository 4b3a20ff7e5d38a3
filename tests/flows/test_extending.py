"""docs/extending.md, followed to the letter in a folder that knows nothing of hasse's source."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/extending.md"
PLUGS = ("sharp_sft.py", "terse.py", "sums.py")


def blocks(heading):
    """The indented blocks below a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [textwrap.dedent(block) for block in re.findall(r"\n\n((?:    .*\n|\n(?=\n*    ))+)", section)]


class Folder:
    """A user's folder, in which commands run."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *command, code=0, **environment):
        kept = {name: value for name, value in os.environ.items() if name not in ("HASSE_PLUGINS", "PREFECT_API_URL")}
        found = subprocess.run(
            command,
            cwd=self.path,
            env={**kept, "HASSE_STORE": "store", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert found.returncode == code, found.stdout + found.stderr
        return found.stdout + found.stderr

    def hasse(self, *arguments, **options):
        return self(sys.executable, "-m", "hasse.flows.cli.main", *arguments, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("extending")
    for heading, name in zip(("A training method", "A judge", "A source"), PLUGS, strict=True):
        (path / name).write_text(blocks(heading)[0])
    recipe, _, commands = blocks("Run them")[0].partition("\n\n")
    (path / "sums.yaml").write_text(recipe)
    (path / "commands").write_text(commands)
    return Folder(path)


def test_a_method_a_judge_and_a_source_from_any_folder(folder):
    run, methods = (line.split()[1:] for line in (folder.path / "commands").read_text().split("\n") if line)
    results = json.loads(folder.hasse(*run, "--json"))
    assert "sharp" in {row["arm"] for row in results["results"]}
    assert "sharp_sft" in folder.hasse(*methods)
    assert "sharp_sft" not in folder.hasse("methods")
    from_environment = os.pathsep.join(PLUGS)
    planned = folder.hasse("run", "sums.yaml", "--dry-run", HASSE_PLUGINS=from_environment)
    number = len(results["steps"])
    assert f"{number} of {number} steps are cached" in planned, "how a plug is named is in no key"
    assert {(plug["kind"], plug["name"]) for plug in results["plugs"]} == {
        ("method", "sharp_sft"), ("teacher", "terse"), ("source", "sums"),
    }  # fmt: skip
    missing = folder.hasse("resume", results["run_id"], "--plugin", "terse.py", "--plugin", "sums.py", code=2)
    assert f"used the method 'sharp_sft' from {folder.path / 'sharp_sft.py'}, not loaded now" in missing
    shown = folder.hasse("explain", "train/sharp/seed-0")
    assert "outside.method_sharp_sft" in shown
    assert "hasse.stages.train.loss_terms" in shown


def test_an_entry_point_of_an_installed_distribution(folder):
    source, site = folder.path / "acme", folder.path / "site"
    (source / "acme_plugs").mkdir(parents=True)
    (source / "pyproject.toml").write_text(blocks("Share them: entry points")[0])
    (source / "acme_plugs/__init__.py").touch()
    shutil.copy(folder.path / "sharp_sft.py", source / "acme_plugs/sharp_sft.py")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--target", str(site))
    folder(sys.executable, "-m", "pip", "install", *offline, str(source))
    assert "sharp_sft" in folder.hasse("methods", PYTHONPATH=str(site))
    planned = folder.hasse(
        "run", "sums.yaml", "--dry-run", "--plugin", "terse.py", "--plugin", "sums.py", PYTHONPATH=str(site)
    )
    assert "train/sharp/seed-0" in planned
    both = folder.hasse("methods", "--plugin", "sharp_sft.py", PYTHONPATH=str(site), code=2)
    assert "two plugs have the same name" in both
    assert str(folder.path / "sharp_sft.py") in both
    assert "entry point sharp_sft of acme-plugs 1.0" in both


def test_the_settings_and_so_the_forms_of_the_server_offer_a_plug(folder):
    program = "from hasse.flows.recipe.recipe import Recipe; print(Recipe.model_json_schema())"
    assert "'sharp_sft'" in folder(sys.executable, "-c", program, HASSE_PLUGINS="sharp_sft.py")
    assert "'sharp_sft'" not in folder(sys.executable, "-c", program)
