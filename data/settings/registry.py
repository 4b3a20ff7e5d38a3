"""The plugs of each kind by name. Each module in a kind's folder is one plug, called like its file.

Other plugs come from outside, see `hasse.data.settings.plugs.outside`.
"""

import importlib
import pkgutil
from difflib import get_close_matches
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Union

from pydantic import Field

from hasse.data.errors import HasseError, RecipeError
from hasse.data.settings.form import Choices
from hasse.data.settings.plugs.check import checked
from hasse.data.settings.plugs.kinds import BY_PACKAGE, FROM_OUTSIDE
from hasse.data.settings.plugs.outside import outside_names
from hasse.data.settings.plugs.outside.source import tag_in


def names(package: str) -> list[str]:
    """The plugs of a kind, given by the package of its built-in plugs; sorted.

    Raises RecipeError where a plug from outside has the name of a built-in one.
    """
    built_in, outside = built_in_names(package), outside_names(package)
    for name in built_in & outside.keys():
        raise RecipeError(
            f"{outside[name]} has the name of the built-in {package}.{name}; give it another name in its Settings"
        )
    return sorted(built_in | outside.keys())


def built_in_names(package: str) -> set[str]:
    """The plugs of a kind that come with hasse."""
    folder = importlib.import_module(package).__path__
    return {module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_")}


def load(package: str, name: str, *, kind: str) -> ModuleType:
    """The plug's module, with all that the Protocol of its kind declares; `kind` says what it is in an error.

    Raises RecipeError, naming the known plugs, for an unknown name.
    """
    if name not in names(package):
        raise RecipeError(unknown(name, names(package), kind=kind))
    return _imported(package, name)


def modules(package: str, name: str) -> tuple[str, ...]:
    """The modules of a plug: its own, and those that it names in `RUNS` because another interpreter runs them."""
    return (module_name(package, name), *getattr(_imported(package, name), "RUNS", ()))


def module_name(package: str, name: str) -> str:
    """The name by which a plug's module is imported."""
    outside = outside_names(package).get(name)
    return outside.module if outside else f"{package}.{name}"


def unknown(name: str, known: list[str], *, kind: str) -> str:
    """The message for a name that is not known: the nearest known one first, then all of them."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}"


def settings_union(package: str, tag: str) -> Any:
    """One settings type for all plugs of a package: a union of their `Settings`, told apart by the field `tag`.

    `settings_union("hasse.stages.judge.teachers", "teacher")` accepts {"teacher": "rule", ...} with that file's fields.
    """
    members = [settings_of(package, name) for name in names(package)]
    if len(members) == 1:
        return members[0]
    return Annotated[Union[tuple(members)], Field(discriminator=tag), Choices(tag)]  # noqa: UP007  a union made at run time


def settings_of(package: str, name: str) -> Any:
    """The class `Settings` of a plug."""
    return _imported(package, name).Settings


def load_file(path: Path) -> ModuleType:
    """The plug in a Python file, checked as when a recipe names it; for its tests. Raises RecipeError."""
    tag, name = tag_in(path, where=str(path))
    kind = next(kind for kind in FROM_OUTSIDE if kind.tag == tag)
    spec = spec_from_file_location(f"{kind.word}_{name}", path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"plug {path}: the name of the file does not end with .py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return checked(module, kind, name)


@cache
def _imported(package: str, name: str) -> ModuleType:
    """The plug's module, checked. Raises RecipeError where one from outside fails while it is imported."""
    outside = outside_names(package).get(name)
    if outside is None:
        return checked(importlib.import_module(f"{package}.{name}"), BY_PACKAGE[package], name)
    try:
        module = importlib.import_module(outside.module)
    except HasseError:
        raise
    except Exception as error:  # code of somebody else, which may fail of anything
        raise RecipeError(f"{outside} cannot be imported: {type(error).__name__}: {error}") from error
    return checked(module, BY_PACKAGE[package], name)
