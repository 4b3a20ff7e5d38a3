"""Recipes: a YAML file, changed by `--set a.b=c`, checked by a settings model."""

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from data.errors import RecipeError
from data.registry import unknown

M = TypeVar("M", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises RecipeError when the file is missing, not YAML, or not a mapping."""
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {path} must be a mapping of sections, found {type(values).__name__}")
    return values


def apply_settings(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A copy of the recipe's values with every `a.b=c` applied; c is read as YAML. Raises RecipeError."""
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted:
            raise RecipeError(f"--set {assignment!r} must have the form section.key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {assignment!r}: the value is not YAML: {error}") from error
        values = _assigned(values, dotted.split("."), value, dotted)
    return values


def validate(model: type[M], values: dict[str, Any], *, where: str) -> M:
    """The values as a settings model. Raises RecipeError that names each wrong key and what would be accepted."""
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
    location = [part for part in error["loc"] if not (isinstance(part, str) and part.startswith(("function-", "tagged")))]
    dotted = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        return f"{dotted}: {unknown(str(location[-1]), known, kind='key')}" if known else f"{dotted}: unknown key"
    if error["type"] == "missing":
        return f"{dotted}: is missing"
    return f"{dotted}: {error['msg']}, found {error['input']!r}" if dotted else error["msg"]


def _known_keys(model: Any, location: list[Any]) -> list[str]:
    """The keys of the settings model that stands at this place below `model`."""
    for part in location:
        model = _model_at(model, part)
        if model is None:
            return []
    return sorted(model.model_fields)


def _model_at(model: Any, part: Any) -> type[BaseModel] | None:
    field = model.model_fields.get(part) if isinstance(part, str) else None
    candidates = _models_in(field.annotation) if field else [model] if isinstance(part, int) else []
    return candidates[0] if len(candidates) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, list, tuple, dict):
        return [m for argument in get_args(annotation) for m in _models_in(argument)]
    return []
