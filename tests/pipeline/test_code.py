"""What a reader alone sees changes no digest of the code; everything else does."""

import ast
import sys
from pathlib import Path

import pytest

from hasse.pipeline.code import code_digests, source_digest

ROOT = Path(__file__).parent.parent.parent
MODULES = [path for layer in ("data", "pipeline", "stages", "flows") for path in sorted((ROOT / layer).rglob("*.py"))]

SOURCE = '''
"""The module."""
from typing import TYPE_CHECKING, Any
from hasse.data.settings import Config
from pydantic import Field

if TYPE_CHECKING:
    from hasse.stages.train.run_spec import RunSpec

LIMIT: int = 3
"""The limit."""

class Settings(Config):
    """Settings."""
    alpha: float = Field(default=0.1, ge=0, title="Alpha", description="How much.")
    names: list[str] = []
    """Names."""

class Empty(Exception):
    """Nothing."""

def loss(work: "RunSpec", names: list[str], *, margin: float = 0.5) -> Any:
    """The loss."""
    found: dict[str, float] = {}
    for name in names:
        found[name] = margin * 2  # twice
    if not found:
        raise ValueError(f"no names in {work!r:>10} of " "the work")
    return Aspect(name="a", description="It is right."), found, (1, 2.5, b"x", None, ..., True)
'''

DIGEST = "c01292fcccecdb874e19f38152f3bd8fc4181852195ffc8ea07cad4972dda418"


class _Reworded(ast.NodeTransformer):
    """Other docstrings, other annotations of functions, and other descriptions of fields."""

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value += " In other words."
        return node

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = ast.Name("Other")
        if not ast.get_docstring(node):
            node.body.insert(0, ast.Expr(ast.Constant("A docstring where none was.")))
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node):
        """Its arguments have no annotations."""
        node.body = self.visit(node.body)
        return node

    def visit_arg(self, node):
        node.annotation = ast.Constant("Other")
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("Field", "unkeyed"):
            node.keywords = [k for k in node.keywords if k.arg != "description"]
            node.keywords.insert(0, ast.keyword("description", ast.Constant("Another description.")))
        return node


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_for_readers_and_formatting_change_no_digest(path):
    source = path.read_text(encoding="utf-8")
    if "__doc__" in source:
        pytest.skip("it reads docstrings, so they count")
    rewritten = ast.unparse(ast.fix_missing_locations(_Reworded().visit(ast.parse(source))))
    assert source_digest(source) == source_digest(f"# A comment.\n\n\n{rewritten}")


def _with(old, new):
    assert SOURCE.count(old) == 1, old
    return source_digest(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""The limit."""\n', ""),
        ("LIMIT: int = 3", "LIMIT = 3"),
        ('title="Alpha", ', ""),
        ("alpha: float", 'alpha: "float"'),
        ("list[str], *", "tuple[str, ...], *"),
        ("found: dict[str, float] = {}", "found = {}"),
        ('    """Nothing."""', "    pass"),
        ("from typing import TYPE_CHECKING, Any", "from typing import Any, TYPE_CHECKING, cast"),
        ("    from hasse.stages.train.run_spec import RunSpec", "    from stages.other import Other"),
        (
            "from hasse.data.settings import Config\nfrom pydantic import Field",
            "from pydantic import Field\nfrom hasse.data.settings import Config",
        ),
        ("  # twice", ""),
        ('of " "the', "of the"),
    ],
)
def test_these_are_for_readers(old, new):
    assert _with(old, new) == source_digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("margin * 2", "margin * 3"),
        ("margin * 2", "2 * margin"),
        ("LIMIT: int = 3", "LIMIT: int = 4"),
        ("(1, 2.5", "(1.0, 2.5"),
        ("True)", "1)"),
        ('b"x"', '"x"'),
        ("default=0.1", "default=0.2"),
        ("ge=0, ", ""),
        ("alpha: float", "alpha: int"),
        ("names: list[str] = []", "names: tuple[str, ...] = []"),
        ("no names in", "no name in"),
        ("It is right.", "It is true."),
        ("from hasse.data.settings import", "from data.other import"),
        ("margin: float = 0.5", "margin: float = 0.6"),
        ("!r:>10", "!s:>10"),
        ("!r:>10", "!r:>11"),
        ("if not found", "if found"),
        ("*, margin", "margin"),
    ],
)
def test_these_decide_results(old, new):
    assert _with(old, new) != source_digest(SOURCE)


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ('"""Be fair."""\nSYSTEM = __doc__\n', "fair", "harsh"),
        ('def ask():\n    """Be fair."""\nSYSTEM = ask.__doc__\n', "fair", "harsh"),
        ('import inspect\nclass A:\n    """Be fair."""\nSYSTEM = inspect.getdoc(A)\n', "fair", "harsh"),
        ("from functools import singledispatch\n@singledispatch\ndef f(x: int): return 1\n", "int", "str"),
        ("import pydantic\n@pydantic.validate_call\ndef f(x: int): return x\n", "int", "str"),
        ("from pydantic import validate_call as v\n@v\ndef f(x) -> int: return x\n", "int", "str"),
    ],
)
def test_words_that_the_module_itself_reads_count(source, old, new):
    assert source_digest(source) != source_digest(source.replace(old, new))
    assert source_digest(source) == source_digest(f"# {old}\n{source}")


def test_a_digest_is_the_same_in_every_version_of_python(monkeypatch):
    """3.12 added `type_params`; what a version without them would write is held here."""
    assert source_digest(SOURCE) == DIGEST
    if sys.version_info < (3, 12):
        source_digest.cache_clear()
        monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "type_params"))
        monkeypatch.setattr(ast.FunctionDef, "type_params", [], raising=False)
        assert source_digest(SOURCE) == DIGEST


def test_code_digests_follow_the_module(tmp_path, monkeypatch):
    module = tmp_path / "some_stage_module.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for text in ("x = 1\n", "x = 1  # one\n", "x = 2\n"):
        module.write_text(text)
        found.append(code_digests(["some_stage_module"]))
    assert found[0] == found[1] != found[2]
    with pytest.raises(ModuleNotFoundError, match="no source for module 'no_such_module'"):
        code_digests(["no_such_module"])
