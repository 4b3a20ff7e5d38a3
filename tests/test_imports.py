"""Modules that a command imports only when it runs are there, and name what is there."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("data", "pipeline", "stages", "flows")
ELSEWHERE = {"hasse.stages.models.vllm_worker"}
"""Run by another interpreter alone."""

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ELSEWHERE])
def test_every_module_can_be_imported(name):
    importlib.import_module(name)
