"""The names of `import hasse`: all there, and none imported before it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hasse


def test_importing_hasse_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import hasse; print(sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=_path())
    imported = ast.literal_eval(found.stdout)
    assert [name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names] == ["hasse"]


def test_opening_a_store_loads_no_engine(tmp_path):
    code = "import sys, hasse; hasse.open_store('.').runs(); print([m for m in ('torch', 'transformers', 'prefect', 'pandas', 'duckdb') if m in sys.modules])"  # noqa: E501  one line of a program
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in hasse.__all__ if not name.endswith("Error")])
def test_every_name_is_documented(name):
    assert getattr(hasse, name).__doc__


def test_every_name_is_typed_for_readers_of_the_source():
    """What a type checker sees, below TYPE_CHECKING, is what is imported at run time."""
    tree = ast.parse(Path(str(hasse.__file__)).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "importlib"]
    typed = {alias.name: node.module for node in imports for alias in node.names if node.module != "typing"}
    assert typed == hasse._MODULES
    assert sorted(typed) == sorted(hasse.__all__)
    assert {name: getattr(hasse, name).__module__ for name in typed} == typed


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"module 'hasse' has no attribute 'open_stor'; it has .*open_store"):
        hasse.open_stor  # noqa: B018


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(str(hasse.__file__)).parents[1])}
