"""The base of every settings model: one model serves the recipe, `--set`, and the form of a user interface."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.form import check_integers, readable

LIMIT = "max_tokens"
"""The field of every settings model that limits the length of what a model writes."""


class Config(BaseModel):
    """Unknown keys are refused; a field made with `unkeyed()` does not enter fingerprints."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), validate_default=True, json_schema_extra=readable
    )

    @model_validator(mode="after")
    def _integers_are_exact_in_json(self) -> Self:
        for name in type(self).model_fields:
            check_integers(getattr(self, name), name)
        return self


def unkeyed(default: Any = ..., **field: Any) -> Any:
    """A pydantic field that cannot change a result: a path whose bytes are digested, a batch size."""
    return Field(default, json_schema_extra={"unkeyed": True}, **field)


def key_of(config: BaseModel) -> dict[str, Any]:
    """The settings that enter a fingerprint, as JSON values: all fields but those made with `unkeyed`."""
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
    """A key without its one `max_tokens`, wherever it stands, and that; None where there is none, or more than one."""
    found: list[int] = []
    left = _stripped(key, found)
    return (left, found[0]) if len(found) == 1 else None


def _stripped(value: Any, found: list[int]) -> Any:
    if isinstance(value, dict):
        found += [v for k, v in value.items() if k == LIMIT and isinstance(v, int)]
        return {k: _stripped(v, found) for k, v in value.items() if k != LIMIT}
    return [_stripped(v, found) for v in value] if isinstance(value, list) else value
