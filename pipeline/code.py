"""Digests of the code that decides a result: the syntax tree of a module, without what only a reader sees.

These parts of a module may be changed without a change of its digest: comments and formatting, docstrings and every
other string that stands alone, annotations of functions and of variables, quotes around the annotation of a field,
imports of types, the order of imports, and `description=` and `title=` of a pydantic field. Everything else counts,
and so do the texts of errors.

The digest does not depend on the version of Python: the tree is written out field by field, and empty fields, which
versions add and `ast.dump` shows, are left out.
"""

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.fingerprint import canonical, digest, file_digest

ROOT = Path(__file__).parent.parent

FIELDS_OF_SETTINGS = {"Field", "unkeyed"}
"""The functions that declare a field of a settings model; what they say to a reader decides nothing."""
SAID_TO_READERS = {"description", "title"}
ONLY_FOR_READERS = {"type_comment", "type_ignores"}
"""Fields of syntax nodes."""
OF_TYPES = {"typing", "collections.abc", "__future__"}
"""Modules that are imported for annotations; whatever else uses their names counts where it stands."""


def code_digests(modules: Iterable[str]) -> dict[str, str]:
    """Module name -> digest of its syntax tree, without importing it. Raises ModuleNotFoundError."""
    return {name: source_digest(_source(name)) for name in sorted(set(modules))}


def asset_digests(paths: Iterable[str]) -> dict[str, str]:
    """Path from the code's root -> sha256 of the file."""
    return {path: file_digest(ROOT / path) for path in sorted(paths)}


@lru_cache(maxsize=1024)
def source_digest(source: str) -> str:
    """The digest of a module's text: 64 hex digits. Raises SyntaxError."""
    return digest(_written(_Bare().visit(ast.parse(source))))


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source for module {module!r}")
    return Path(spec.origin).read_text(encoding="utf-8")


class _Bare(ast.NodeTransformer):
    """Takes out of a tree what only a reader sees."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A string that stands alone is a docstring, of whatever it follows."""
        is_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_string else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        """A body of a docstring alone is the same as one of `pass`."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """The annotation of a field decides what the field may hold, with quotes or without."""
        for part in node.body:
            if isinstance(part, ast.AnnAssign):
                part.annotation = _unquoted(part.annotation)
                part.simple = _FIELD
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.simple == _FIELD:
            return self.generic_visit(node)
        node.annotation = ast.Constant(value=None)
        assigned = node if node.value is None else ast.Assign(targets=[node.target], value=node.value)
        return self.generic_visit(assigned)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        bare = self.generic_visit(node)
        assert isinstance(bare, ast.Module)
        bare.body = list(_with_sorted_imports(bare.body))
        return bare

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse
        return None if is_for_types else self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        node.names = sorted(node.names, key=lambda alias: (alias.name, alias.asname or ""))
        return None if node.module in OF_TYPES else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if name in FIELDS_OF_SETTINGS:
            node.keywords = [k for k in node.keywords if k.arg not in SAID_TO_READERS]
        return self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Versions of Python cut the fixed parts of an f-string in different places."""
        parts: list[ast.expr] = []
        for part in node.values:
            if isinstance(part, ast.Constant) and parts and isinstance(parts[-1], ast.Constant):
                parts[-1] = ast.Constant(value=f"{parts[-1].value}{part.value}")
            elif not (isinstance(part, ast.Constant) and part.value == ""):
                parts.append(part)
        node.values = parts
        return self.generic_visit(node)


_FIELD = 2
"""Mark of an annotated field of a class, in place of `simple`, which is 0 or 1."""


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _with_sorted_imports(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for are_imports, run in groupby(body, key=lambda part: isinstance(part, (ast.Import, ast.ImportFrom))):
        part = list(run)
        yield from sorted(part, key=lambda line: canonical(_written(line))) if are_imports else part


def _written(value: Any) -> Any:
    """The tree as JSON: a node is [its type, {field: value}], without its empty fields."""
    if isinstance(value, ast.Constant):
        return ["Constant", type(value.value).__name__, ascii(value.value)]
    if isinstance(value, ast.AST):
        fields = {name: found for name, found in ast.iter_fields(value) if name not in ONLY_FOR_READERS}
        return [type(value).__name__, {k: _written(v) for k, v in fields.items() if v is not None and v != []}]
    return [_written(part) for part in value] if isinstance(value, list) else value
