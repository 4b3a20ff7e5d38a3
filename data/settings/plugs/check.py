"""A plug is held to the Protocol of its kind when it is loaded, so that a misspelt name is not taken for an absent one.

An abstract function of a Protocol is required. An attribute with a value and a function with a body are optional: a
plug that leaves them out gets the Protocol's. A function marked `optional` is None in a plug that leaves it out.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import FunctionType, MethodType, ModuleType
from typing import Any, get_args

from pydantic import BaseModel

from hasse.data.errors import RecipeError
from hasse.data.settings.plugs.kinds import OPTIONAL, Kind

PLUG = "PLUG"
"""A plug may name another Protocol of its kind's package by this."""
LIKE = 0.8
"""The similarity from which a name is taken for a misspelt one."""


def checked(module: ModuleType, kind: Kind, name: str) -> ModuleType:
    """The module, with every optional member that it leaves out. Raises RecipeError for what its Protocol forbids."""
    where = f"{kind.word} {name!r} (file {module.__file__})"
    protocol = getattr(importlib.import_module(kind.package), getattr(module, PLUG, kind.protocol))
    members = {member: getattr(protocol, member) for member in _members(protocol)}
    _check_settings(module, kind, name, where)
    _check_spelling(module, members, where)
    for member, declared in members.items():
        if member in vars(module):
            _check_arguments(vars(module)[member], declared, member, where)
        elif getattr(declared, "__isabstractmethod__", False):
            raise RecipeError(
                f"{where} does not define {_shown(member, declared)}; {protocol.__name__} in {kind.package} says what "
                f"a {kind.word} defines"
            )
        else:
            setattr(module, member, _default(declared, module))
    _check_payer(module, where)
    return module


def _members(protocol: type) -> Iterator[str]:
    return (member for member in dir(protocol) if not member.startswith("_"))


def _default(declared: Any, module: ModuleType) -> Any:
    if getattr(declared, OPTIONAL, False):
        return None
    return MethodType(declared, module) if isinstance(declared, FunctionType) else declared


def _check_settings(module: ModuleType, kind: Kind, name: str, where: str) -> None:
    settings = getattr(module, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise RecipeError(f"{where} has no class Settings(Config), with Config from hasse.data.settings")
    fields = settings.model_fields
    tag = fields.get(kind.tag)
    if tag is None or get_args(tag.annotation) != (name,) or tag.default != name:
        raise RecipeError(f'{where}: Settings needs the field `{kind.tag}: Literal["{name}"] = "{name}"`')
    needed = () if hasattr(module, PLUG) else kind.fields
    if missing := [field for field in needed if field not in fields]:
        raise RecipeError(f"{where}: Settings needs the field {missing[0]!r}, as every {kind.word} has it")
    for field, info in fields.items():
        if field != kind.tag and not info.description:
            raise RecipeError(f"{where}: the setting {field!r} has no description; give it Field(description=...)")


def _check_spelling(module: ModuleType, members: dict[str, Any], where: str) -> None:
    absent = [member for member in members if member not in vars(module)]
    for name, value in vars(module).items():
        own = isinstance(value, FunctionType) and value.__module__ == module.__name__
        if name in members or name.startswith("_") or not (own or name.isupper()):
            continue
        if near := get_close_matches(name, absent, n=1, cutoff=LIKE):
            raise RecipeError(f"{where} defines {name}; did you mean {near[0]}?")


def _check_arguments(value: Any, declared: Any, member: str, where: str) -> None:
    """A plug's function takes the positional arguments of the Protocol by the same names, and no others by keyword."""
    is_absent = value is None and getattr(declared, OPTIONAL, False)
    if is_absent or not isinstance(declared, FunctionType):
        return
    if not callable(value):
        raise RecipeError(f"{where}: {member} is no function; it should be {_shown(member, declared)}")
    wanted, found = _parameters(declared)[1:], _parameters(value)
    required = [p.name for p in found if p.kind is not p.KEYWORD_ONLY and p.default is p.empty and not _is_rest(p)]
    keywords = {p.name for p in found if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    allowed = {p.name for p in wanted if p.kind is p.KEYWORD_ONLY}
    if required != [p.name for p in wanted if p.kind is not p.KEYWORD_ONLY] or not keywords <= allowed:
        raise RecipeError(f"{where}: {_shown(member, value, of=found)} should be {_shown(member, declared)}")


def _check_payer(module: ModuleType, where: str) -> None:
    """Require `payer` of a plug that asks a chat endpoint, and `repeat` of one that asks again."""
    for ability, keyword in (("questions", "payer"), ("REPEATS", "repeat")):
        for member in ("sample", "judge", "annotate") if getattr(module, ability, None) else ():
            function = vars(module).get(member)
            if function is not None and keyword not in {p.name for p in _parameters(function)}:
                raise RecipeError(f"{where} has {ability}, so {member} needs the keyword argument {keyword!r}")


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _is_rest(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _shown(member: str, function: Any, *, of: list[inspect.Parameter] | None = None) -> str:
    """`loss(policy, batch, settings)`, without the first argument of a Protocol's function."""
    parameters = _parameters(function)[1:] if of is None else of
    return f"{member}({', '.join(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)})"
