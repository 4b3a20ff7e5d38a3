"""Digests of the code that decides a result. They cover a module's syntax tree, without the parts for readers.

These parts of a module may be changed without a change of its digest: comments and formatting, docstrings and every
other string that stands alone, annotations of functions and of variables, quotes around the annotation of a field,
imports of types, the order of imports, and `description=` and `title=` of a pydantic field. Everything else counts,
and so do the texts of errors. A module that reads docstrings itself (`__doc__`), or that chooses by annotations
(`singledispatch`, `validate_call`), keeps these too.

The digest does not depend on the version of Python: the tree is written out field by field, and empty fields, which
versions add and `ast.dump` shows, are left out.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from hasse.data.settings.plugs.outside.source import find_module
from hasse.pipeline.fingerprint import canonical, digest, file_digest

ROOT = Path(__file__).parent.parent

NOT_IN_KEYS = "NOT_IN_KEYS"
"""A module or package that decides no result assigns the reason, as a text, to this name, and is left out of keys."""

FIELDS_OF_SETTINGS = {"Field", "unkeyed"}
"""The functions that declare a field of a settings model. Their texts for readers decide nothing."""
SAID_TO_READERS = {"description", "title"}
DECIDES_NOTHING = {"type_comment", "type_ignores", "ctx"}
"""Fields of syntax nodes that only a type checker reads, or that follow from the place of the node."""
READS_DOCSTRINGS = {"__doc__", "getdoc"}
READS_ANNOTATIONS = {"singledispatch", "singledispatchmethod", "validate_call"}
"""Names by which a module uses its own docstrings, or the annotations of its functions."""
OF_TYPES = {"typing", "collections.abc", "__future__"}
"""Modules that are imported for annotations. Any other use of their names counts where it stands."""


def modules_behind(roots: Iterable[str], *, beside: Iterable[str] = ()) -> frozenset[str]:
    """The roots and every module that they import, directly or through others, at the top or inside a function.

    Only modules of the importer's own top-level package and of hasse count: keys follow a plug from outside, and they
    do not follow libraries. Modules that assign `NOT_IN_KEYS`, and those in `beside`, are left out,
    together with the modules that only they import. The roots are always included.
    """
    found = set(roots)
    left_out = set(beside) - found
    todo = sorted(found)
    while todo:
        imported = _imported(todo.pop()) - found - left_out
        new = {module for module in imported if why_not_in_keys(module) is None}
        found |= new
        todo += sorted(new)
    return frozenset(found)


@cache
def why_not_in_keys(module: str) -> str | None:
    """The reason, given by the module or a package around it, why its code is in no key; None if it is in keys."""
    text = _source(module) if _path(module) else ""  # a folder without __init__.py is a package too
    for node in ast.parse(text).body if NOT_IN_KEYS in text else []:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == NOT_IN_KEYS:
            return str(ast.literal_eval(node.value))
    package = module.rpartition(".")[0]
    return why_not_in_keys(package) if package else None


def code_digests(modules: Iterable[str]) -> dict[str, str]:
    """Module name -> digest of its syntax tree, without importing it. Raises ModuleNotFoundError."""
    return {name: source_digest(_source(name)) for name in sorted(set(modules))}


def asset_digests(paths: Iterable[str]) -> dict[str, str]:
    """Path from the code's root -> sha256 of the file."""
    return {path: file_digest(ROOT / path) for path in sorted(paths)}


@lru_cache(maxsize=1024)
def source_digest(source: str) -> str:
    """The digest of a module's source text, in 64 hex digits. Raises SyntaxError."""
    tree = ast.parse(source)
    return digest(_written(_Bare(_names_in(tree)).visit(tree)))


def _names_in(tree: ast.Module) -> set[str]:
    """All names that a module uses, imports or looks up."""
    nodes = list(ast.walk(tree))
    found = {getattr(node, "id", None) or getattr(node, "attr", None) for node in nodes}
    return {str(name) for name in found} | {node.name for node in nodes if isinstance(node, ast.alias)}


def _source(module: str) -> str:
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(f"no source for module {module!r}")
    return path.read_text(encoding="utf-8")


@cache
def _path(module: str) -> Path | None:
    """The file of a module, or None. The module is not imported."""
    known = getattr(sys.modules.get(module), "__file__", None)
    if known is None:
        return find_module(module)
    return Path(known) if known.endswith(".py") else None


@cache
def _imported(module: str) -> frozenset[str]:
    """The modules of the same top-level package and of hasse that a module imports, but not for annotations alone."""
    tops = {module.partition(".")[0], __name__.partition(".")[0]}
    return frozenset(name for name in _imports(ast.parse(_source(module)), _package(module), tops) if _path(name))


def _package(module: str) -> str:
    """The package that a module's relative imports start from."""
    path = _path(module)
    return module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]


def _imports(tree: ast.Module, package: str, tops: set[str]) -> Iterator[str]:
    """The imported modules below these top-level packages; relative imports start from `package`."""
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in tops)
        elif isinstance(node, ast.ImportFrom):
            source = _source_of(node, package)
            if source.partition(".")[0] in tops:
                parts = (f"{source}.{alias.name}" for alias in node.names)
                yield from (part if _path(part) else source for part in parts)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement at any depth, except those that only a type checker reads; no expression is walked."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if not (isinstance(node, ast.If) and _is_for_types(node)):
            blocks = (getattr(node, name, ()) for name in ("body", "orelse", "finalbody", "handlers", "cases"))
            todo += [part for block in blocks if isinstance(block, list) for part in block]


def _source_of(node: ast.ImportFrom, package: str) -> str:
    """The module that names are imported from, without leading dots."""
    if not node.level:
        return str(node.module)
    around = package.split(".")
    around = around[: len(around) - node.level + 1]
    return ".".join([*around, node.module] if node.module else around)


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse


class _Bare(ast.NodeTransformer):
    """Removes from a syntax tree all that only readers see. names: the names that the module uses."""

    def __init__(self, names: set[str]):
        self.keeps_docstrings = bool(names & READS_DOCSTRINGS)
        self.keeps_annotations = bool(names & READS_ANNOTATIONS)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Remove strings that stand alone: they document what they follow."""
        if self.keeps_docstrings:
            return self.generic_visit(node)
        is_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_string else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        """Remove `pass`, so that it equals a body that is only a docstring."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep the annotations of fields, without quotes: they decide what a field may hold."""
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
        return None if _is_for_types(node) else self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        node.names = sorted(node.names, key=lambda alias: (alias.name, alias.asname or ""))
        return None if node.module in OF_TYPES else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node if self.keeps_annotations else ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = node.returns if self.keeps_annotations else None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = node.returns if self.keeps_annotations else None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if name in FIELDS_OF_SETTINGS:
            node.keywords = [k for k in node.keywords if k.arg not in SAID_TO_READERS]
        return self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Join the fixed parts of an f-string, which versions of Python split in different places."""
        parts: list[ast.expr] = []
        for part in node.values:
            if isinstance(part, ast.Constant) and parts and isinstance(parts[-1], ast.Constant):
                parts[-1] = ast.Constant(value=f"{parts[-1].value}{part.value}")
            elif not (isinstance(part, ast.Constant) and part.value == ""):
                parts.append(part)
        node.values = parts
        return self.generic_visit(node)


_FIELD = 2
"""The value of `simple`, otherwise 0 or 1, that marks an annotated field of a class."""


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _with_sorted_imports(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for are_imports, run in groupby(body, key=lambda part: isinstance(part, (ast.Import, ast.ImportFrom))):
        part = list(run)
        yield from sorted(part, key=lambda line: canonical(_written(line))) if are_imports else part


def _written(value: Any) -> Any:
    """The syntax tree as JSON. A node is [its type, {field: value}], without empty fields."""
    if isinstance(value, list):
        return [_written(part) for part in value]
    if not isinstance(value, ast.AST):
        return value
    if isinstance(value, ast.Constant):
        return ["Constant", type(value.value).__name__, ascii(value.value)]
    fields = {}
    for name in value._fields:
        part = getattr(value, name, None)
        if part is not None and part != [] and name not in DECIDES_NOTHING:
            fields[name] = part if isinstance(part, str) else _written(part)
    return [type(value).__name__, fields]
