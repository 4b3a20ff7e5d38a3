"""Plugs that do not come with hasse: those that `HASSE_PLUGINS` names, and entry points of installed distributions.

`HASSE_PLUGINS` lists Python files and names of modules, separated as in PATH. The option `--plugin` adds to it, so that
every process that hasse starts finds the same plugs. Only who owns the process can name plugs: no setting of a recipe
does.

The kind and the name of a plug are read from its source, which is not executed for that. A file is then imported as
`hasse.data.settings.plugs.outside.KIND_NAME`, a module under its own name.
"""

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hasse.data.errors import RecipeError
from hasse.data.settings.plugs.kinds import FROM_OUTSIDE, Kind
from hasse.data.settings.plugs.outside.source import find_module, neighbours, tag_in

VARIABLE = "HASSE_PLUGINS"


@dataclass(frozen=True, kw_only=True)
class OutsidePlug:
    """A plug from outside. module: the name under which it is imported; named: how the user would name it again."""

    kind: Kind
    name: str
    module: str
    path: Path
    named: str

    def __str__(self) -> str:
        return f"{self.kind.word} {self.name!r} ({self.named})"


def add(names: Iterable[str]) -> None:
    """Add files and modules to `HASSE_PLUGINS`, for this process and all that it starts; paths become absolute.

    Raises RecipeError where this process has loaded its plugs already.
    """
    before = os.environ.get(VARIABLE, "")
    wanted = os.pathsep.join(dict.fromkeys([*_listed(before), *map(_absolute, names)]))
    if wanted != before and outside_plugs.cache_info().currsize:
        raise RecipeError(f"plugs were loaded before {', '.join(names)} could be added; set {VARIABLE} beforehand")
    if wanted:
        os.environ[VARIABLE] = wanted


def plugs_environment() -> dict[str, str]:
    """The variable that names plugs, for processes that do not inherit this process's environment."""
    return {name: value for name in (VARIABLE,) if (value := os.environ.get(name))}


@cache
def outside_plugs() -> tuple[OutsidePlug, ...]:
    """All plugs from outside. Raises RecipeError for one that cannot be found, or whose kind is not stated."""
    add(())
    found: dict[tuple[str, Path], OutsidePlug] = {}
    for plug in (*map(_named, _listed(os.environ.get(VARIABLE, ""))), *_installed()):
        found.setdefault((plug.module, plug.path), plug)
    return tuple(found.values())


def outside_names(package: str) -> dict[str, OutsidePlug]:
    """Name -> plug from outside, of one kind. Raises RecipeError for a name that two plugs have."""
    found: dict[str, OutsidePlug] = {}
    for plug in outside_plugs():
        if plug.kind.package == package:
            if plug.name in found:
                raise RecipeError(f"two plugs have the same name: {found[plug.name]} and {plug}; leave one out")
            found[plug.name] = plug
    return found


def _listed(value: str) -> list[str]:
    return [_absolute(part) for part in value.split(os.pathsep) if part]


def _is_file(name: str) -> bool:
    return name.endswith(".py") or os.sep in name


def _absolute(name: str) -> str:
    return str(Path(name).expanduser().absolute()) if _is_file(name) else name


def _named(name: str) -> OutsidePlug:
    """The plug of a file or module that the user named."""
    path = Path(name) if _is_file(name) else find_module(name)
    if path is None or not path.is_file():
        what = "file" if _is_file(name) else "module"
        raise RecipeError(f"plug {name}: there is no such {what}; --plugin and {VARIABLE} take a Python file or module")
    tag, plug = tag_in(path, where=name)
    kind = next(kind for kind in FROM_OUTSIDE if kind.tag == tag)
    if not _is_file(name):
        return OutsidePlug(kind=kind, name=plug, module=name, path=path, named=name)
    if beside := neighbours(path):
        raise RecipeError(
            f"plug {name} imports {', '.join(beside)} from beside it, and keys would not follow that; make a package "
            "of these files, put its folder into PYTHONPATH, and name the module: --plugin PACKAGE.MODULE"
        )
    return OutsidePlug(kind=kind, name=plug, module=f"{__name__}.{kind.word}_{plug}", path=path, named=name)


def _installed() -> Iterator[OutsidePlug]:
    """The entry points of all groups, in a fixed order."""
    everything = entry_points()
    for kind in FROM_OUTSIDE:
        for point in sorted(everything.select(group=str(kind.group)), key=lambda point: (point.name, point.value)):
            named = f"entry point {point.name} of {_distribution(point)}"
            path = None if point.attr else find_module(point.module)
            if path is None:
                raise RecipeError(
                    f"{named}, group {kind.group}: {point.value!r} is not a module that can be found; the value of "
                    "such an entry point is the name of a module"
                )
            yield OutsidePlug(kind=kind, name=point.name, module=point.module, path=path, named=named)


def _distribution(point: EntryPoint) -> str:
    found = point.dist
    return f"{found.name} {found.version}" if found else "an unknown distribution"


class _Finder(MetaPathFinder):
    """Finds plugs that are files by the names that `_named` gives them, in whatever process asks first."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.rpartition(".")[0] != __name__:
            return None
        for plug in outside_plugs():
            if plug.module == fullname:
                return importlib.util.spec_from_file_location(fullname, plug.path)
        return None


sys.meta_path.append(_Finder())
