"""A folder is a registry: each module in it is one plug, and its file name is the plug's name in a recipe."""

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType
from typing import Annotated, Any, Union

from pydantic import Field

from hasse.data.errors import RecipeError
from hasse.data.settings.form import Choices


def names(package: str) -> list[str]:
    """The plugs of a package, sorted."""
    folder = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))


def load(package: str, name: str, *, kind: str) -> ModuleType:
    """The plug's module. Raises RecipeError, naming the known ones, for an unknown name; `kind` says what it is."""
    if name not in names(package):
        raise RecipeError(unknown(name, names(package), kind=kind))
    return importlib.import_module(f"{package}.{name}")


def modules(package: str, name: str) -> tuple[str, ...]:
    """The modules of a plug: its own, and those that it names in `RUNS` because another interpreter runs them."""
    own = f"{package}.{name}"
    return (own, *getattr(importlib.import_module(own), "RUNS", ()))


def unknown(name: str, known: list[str], *, kind: str) -> str:
    """The message for a name that is not known: the nearest known one first, then all of them."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}"


def settings_union(package: str, tag: str) -> Any:
    """One settings type for all plugs of a package: a union of their `Settings`, told apart by the field `tag`.

    `settings_union("hasse.stages.judge.teachers", "teacher")` accepts {"teacher": "rule", ...} with that file's fields.
    """
    members = [importlib.import_module(f"{package}.{name}").Settings for name in names(package)]
    if len(members) == 1:
        return members[0]
    return Annotated[Union[tuple(members)], Field(discriminator=tag), Choices(tag)]  # noqa: UP007  a union made at run time
