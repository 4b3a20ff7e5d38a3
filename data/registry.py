"""A folder is a registry: each module in it is one plug, and its file name is the plug's name in a recipe."""

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType

from data.errors import RecipeError


def names(package: str) -> list[str]:
    """The plugs of a package, sorted."""
    folder = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))


def load(package: str, name: str, *, kind: str) -> ModuleType:
    """The plug's module. Raises RecipeError, naming the known ones, for an unknown name; `kind` says what it is."""
    if name not in names(package):
        raise RecipeError(unknown(name, names(package), kind=kind))
    return importlib.import_module(f"{package}.{name}")


def unknown(name: str, known: list[str], *, kind: str) -> str:
    """The message for a name that is not known: the nearest known one first, then all of them."""
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}"
