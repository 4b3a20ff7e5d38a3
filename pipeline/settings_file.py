"""Read a recipe from YAML, change it by `--set a.b=c`, and check it by a settings model."""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hasse.data.errors import RecipeError
from hasse.data.settings.registry import unknown
from hasse.pipeline.yaml_text import MAX_CHARACTERS, YamlError, parse_yaml

M = TypeVar("M", bound=BaseModel)


def read_yaml(path: Path, *, what: str = "recipe") -> dict[str, Any]:
    """The mapping in a YAML file. Raises RecipeError if the file is missing, not YAML, or not a mapping."""
    try:
        with path.open("rb") as stream:
            values = parse_yaml(stream.read(4 * MAX_CHARACTERS + 1))
    except OSError as error:
        raise RecipeError(f"{what} {path} cannot be read: {error.strerror}") from error
    except YamlError as error:
        raise RecipeError(f"{what} {path} is not YAML that can be read: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{what} {path} must be a mapping, found {type(values).__name__}")
    return values


def apply_settings(values: dict[str, Any], changes: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the recipe's values with every change applied: "a.b=c", where c is read as YAML, or "a.b" -> c.

    Raises RecipeError.
    """
    if isinstance(changes, str):
        raise RecipeError(f"changed settings are a list or a dict, found the text {changes!r:.200}; give [{changes!r}]")
    assigned = changes.items() if isinstance(changes, Mapping) else map(_read_assignment, changes)
    for dotted, value in assigned:
        values = _assigned(values, dotted.split("."), value, dotted)
    return values


def _read_assignment(assignment: str) -> tuple[str, Any]:
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted:
        raise RecipeError(f"--set {assignment!r} must have the form section.key=value")
    try:
        return dotted, parse_yaml(text)
    except YamlError as error:
        raise RecipeError(f"--set {assignment!r:.200}: the value is not YAML that can be read: {error}") from error


def validate(model: type[M], values: dict[str, Any], *, where: str) -> M:
    """The values as a settings model. Raises RecipeError that names each wrong key and the accepted ones."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, e) for e in error.errors()]
        raise RecipeError("\n".join([f"{where} is not valid:", *(f"  {line}" for line in lines)])) from error


def _assigned(values: Any, keys: list[str], value: Any, dotted: str) -> Any:
    key, rest = keys[0], keys[1:]
    if isinstance(values, list):
        if not key.isdigit() or int(key) >= len(values):
            raise RecipeError(f"--set {dotted}: {key!r} is not a position in a list of {len(values)}")
        i = int(key)
        return [*values[:i], _assigned(values[i], rest, value, dotted) if rest else value, *values[i + 1 :]]
    if not isinstance(values, dict) and values is not None:
        raise RecipeError(f"--set {dotted}: {key!r} is below {values!r}, which has no keys")
    values = values or {}
    return {**values, key: _assigned(values.get(key), rest, value, dotted) if rest else value}


def _explain(model: type[BaseModel], error: Any) -> str:
    location = list(error["loc"])
    if location[-1:] == ["[key]"]:  # a name that cannot be one; the message quotes it
        location = location[:-2]
    dotted = ".".join(str(part) for part in _without_tags(model, location))
    if error["type"] == "extra_forbidden":
        known = sorted({name for m in _models_at(model, location[:-1]) for name in m.model_fields})
        return f"{dotted}: {unknown(str(location[-1]), known, kind='key')}"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        known = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
        kind = context["discriminator"].strip("'")
        return f"{dotted}.{kind}: {unknown(context['tag'], known, kind=kind)}"
    if error["type"] == "union_tag_not_found":
        return f"{dotted}.{error['ctx']['discriminator'].strip(chr(39))}: is missing"
    if error["type"] == "missing":
        return f"{dotted}: is missing"
    if error["type"] == "value_error":
        return f"{dotted}: {error['ctx']['error']}" if dotted else str(error["ctx"]["error"])
    return f"{dotted}: {error['msg']}, found {error['input']!r}"


def _models_at(model: type[BaseModel], location: list[Any]) -> list[type[BaseModel]]:
    """The settings models that are possible at this place; several if it holds an undecided union."""
    options = [model]
    for part in location:
        fields = [m.model_fields[part] for m in options if part in m.model_fields]
        if fields:
            options = [found for field in fields for found in models_in(field.annotation)]
        else:
            options = [m for m in options if part in _tags(m)] or options
    return options


def _without_tags(model: type[BaseModel], location: list[Any]) -> list[Any]:
    """The place as the user wrote it, without the tags that pydantic inserts for the chosen members of unions."""
    kept: list[Any] = []
    for i, part in enumerate(location):
        options = _models_at(model, location[:i])
        is_tag = len(options) > 1 and any(part in _tags(m) for m in options) and location[i - 1 : i] != [part]
        written = any(part in m.model_fields for m in options) or i == len(location) - 1 or not is_tag
        if written:
            kept.append(part)
    return kept


def _tags(model: type[BaseModel]) -> set[Any]:
    return {
        a for f in model.model_fields.values() if get_origin(f.annotation) is Literal for a in get_args(f.annotation)
    }


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return models_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType, list, tuple, dict):
        return [m for argument in get_args(annotation) for m in models_in(argument)]
    return []
