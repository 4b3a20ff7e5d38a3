"""The base of all settings models. One model serves the recipe, `--set`, and the form of a user interface."""

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from hasse.data.settings.form import MAX_NUMBER, MAX_SEED, check_integers, readable

NOT_IN_KEYS = "the values of settings are in the key"

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
"""The whole number that starts a random number generator."""

NAME = re.compile(r"[^\W_][\w.+-]*")
MAX_NAME = 100


def _is_name(text: str) -> str:
    if len(text) > MAX_NAME or not NAME.fullmatch(text):
        shown = repr(text) if len(text) <= MAX_NAME else f"{text[:20]!r}..., which has {len(text)} characters,"
        raise ValueError(
            f"{shown} cannot be a name: 1 to {MAX_NAME} letters, digits and the signs - _ . + are allowed, "
            "with a letter or digit first"
        )
    return text


Name = Annotated[str, AfterValidator(_is_name)]
"""A name that a recipe makes up. It becomes part of names of steps and of candidates."""

LIMIT = "max_tokens"
"""The name, in all settings models, of the field that limits the length of a model's answers."""


class Config(BaseModel):
    """A settings model. Unknown keys are refused, and fields made with `unkeyed()` do not enter fingerprints."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), validate_default=True, json_schema_extra=readable
    )

    @model_validator(mode="after")
    def _integers_are_exact_in_json(self) -> Self:
        for name in type(self).model_fields:
            check_integers(getattr(self, name), name)
        return self

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_truth_values(cls, values: Any) -> Any:
        """Refuse `seed: true`, which Python would take for 1."""
        for name, field in cls.model_fields.items():
            kind = str(field.annotation)
            numeric = re.search(r"\b(int|float)\b", kind) and not re.search(r"\b(bool|Any|Settings)\b", kind)
            given = values.get(name) if isinstance(values, dict) and numeric else None
            if any(isinstance(part, bool) for part in _parts(given)):
                raise ValueError(f"{name}: a number is needed, found {given}")
        return values

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_stored(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse numbers and texts that would fail, or change, once they reach torch, Arrow, a file or a server."""
        largest = MAX_SEED if "seed" in (info.field_name or "") else MAX_NUMBER
        for part in _parts(value):
            if isinstance(part, float) and not math.isfinite(part):
                raise ValueError(f"a finite number is needed, found {part}")
            if isinstance(part, int) and abs(part) > largest:
                raise ValueError(
                    f"a whole number of at most {largest} is needed, found one of {part.bit_length()} bits"
                )
            if isinstance(part, str) and re.search("[\ud800-\udfff]", part):
                raise ValueError("the text holds half of a character, which no file can hold")
        return value


def _parts(value: Any) -> Iterator[Any]:
    """The values of a list or mapping, or the value itself. Nested settings check their own fields."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        yield from value.values()
    else:
        yield value


def unkeyed(default: Any = ..., **field: Any) -> Any:
    """A pydantic field that cannot change a result, like a batch size, or a path whose bytes are digested."""
    return Field(default, json_schema_extra={"unkeyed": True}, **field)


def key_of(config: BaseModel) -> dict[str, Any]:
    """The settings that enter a fingerprint, as JSON values: all fields except those made with `unkeyed`."""
    values = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("unkeyed"):
            del values[name]
        else:
            values[name] = _key_of_value(getattr(config, name), values[name])
    return values


def _key_of_value(value: Any, dumped: Any) -> Any:
    if isinstance(value, BaseModel):
        return key_of(value)
    if isinstance(value, (list, tuple)):
        return [_key_of_value(v, d) for v, d in zip(value, dumped, strict=True)]
    if isinstance(value, dict):
        return {str(k): _key_of_value(v, dumped[k]) for k, v in value.items()}
    return dumped


def without_limit(key: dict[str, Any]) -> tuple[dict[str, Any], int] | None:
    """(the key without its `max_tokens`, that limit). None if the key holds no `max_tokens`, or more than one."""
    found: list[int] = []
    left = _stripped(key, found)
    return (left, found[0]) if len(found) == 1 else None


def _stripped(value: Any, found: list[int]) -> Any:
    if isinstance(value, dict):
        found += [v for k, v in value.items() if k == LIMIT and isinstance(v, int)]
        return {k: _stripped(v, found) for k, v in value.items() if k != LIMIT}
    return [_stripped(v, found) for v in value] if isinstance(value, list) else value
