"""A folder is a registry: each module in it is one plug, and its file name is the plug's name in a recipe."""

import ast
import importlib
import pkgutil
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Union

from pydantic import Field

from data.errors import RecipeError
from data.settings.form import Choices


def names(package: str) -> list[str]:
    """The plugs of a package, sorted."""
    folder = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))


def load(package: str, name: str, *, kind: str) -> ModuleType:
    """The plug's module. Raises RecipeError, naming the known ones, for an unknown name; `kind` says what it is."""
    if name not in names(package):
        raise RecipeError(unknown(name, names(package), kind=kind))
    return importlib.import_module(f"{package}.{name}")


def family(package: str, name: str) -> tuple[str, ...]:
    """The plug's module and those of its package that it imports, themselves or by way of others; sorted."""
    found: set[str] = set()
    open_names = [name]
    while open_names:
        module = f"{package}.{open_names.pop()}"
        if module not in found:
            found.add(module)
            open_names += _imported(module, package)
    return tuple(sorted(found))


def modules(package: str, name: str) -> tuple[str, ...]:
    """The modules whose code decides what a plug does: its family, and what each of these names in `MODULES`; sorted.

    A test holds `MODULES` to what the plugs import.
    """
    own = family(package, name)
    named = {module for plug in own for module in getattr(importlib.import_module(plug), "MODULES", ())}
    return tuple(sorted({*own, *named}))


def _imported(module: str, package: str) -> list[str]:
    """Names of the plugs of `package` that the module's source imports."""
    source = Path(importlib.import_module(module).__file__ or "").read_text(encoding="utf-8")
    named: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            named.add((node.module or "").removeprefix(f"{package}."))
    return sorted(named & set(names(package)))


def unknown(name: str, known: list[str], *, kind: str) -> str:
    """The message for a name that is not known: the nearest known one first, then all of them."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}"


def settings_union(package: str, tag: str) -> Any:
    """One settings type for all plugs of a package: a union of their `Settings`, told apart by the field `tag`.

    `settings_union("stages.order.strategies", "strategy")` accepts {"strategy": "lp", ...} with that file's fields.
    """
    members = [importlib.import_module(f"{package}.{name}").Settings for name in names(package)]
    if len(members) == 1:
        return members[0]
    return Annotated[Union[tuple(members)], Field(discriminator=tag), Choices(tag)]  # noqa: UP007  a union made at run time
