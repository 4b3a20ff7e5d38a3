"""The JSON schema of settings models, made for forms: readable titles, choices by name, lists in place of mappings.

The schema changes nothing in what a recipe may hold. Prefect's pages assign a value to the member of a union that
shares the most keys with it, and take the first of several. So members with the same keys are shown as one member,
with their names as a choice, and members with fewer keys come first. The pages show `anyOf` and validate by `allOf`,
so a wrong value is reported at its own field.
"""

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

Schema = dict[str, Any]
JSON_INTEGER = 2**53 - 1
"""The largest integer that all JSON readers keep exactly. A run with 2^70 makes Prefect's server list no runs."""
MAX_SEED = 2**32 - 1
"""The largest seed that numpy, torch, vLLM and chat endpoints all accept."""
MAX_NUMBER = 2**31 - 1
"""The largest whole number, other than a seed, that all libraries and file formats hold."""
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "minItems", "maxItems", "pattern")


def readable(schema: Schema, model: type[Any]) -> None:
    """Add titles to a model's schema and its fields. The field that names a plug is required and has one value."""
    tag = tag_of(model)
    schema["title"] = title(tag[1] if tag else re.sub(r"(Settings|Section)$", "", model.__name__))
    for name, field in schema.get("properties", {}).items():
        field["title"] = title(name)
        bound_integers(field, MAX_SEED if "seed" in name else MAX_NUMBER)
    if tag:
        name, value = tag
        schema["properties"][name] |= {"enum": [value]}
        schema["properties"][name].pop("const", None)
        schema["properties"] = {name: schema["properties"].pop(name), **schema["properties"]}
        schema["required"] = [name, *schema.get("required", [])]


def bound_integers(schema: Any, largest: int = JSON_INTEGER) -> None:
    """Add the bounds that integers in a JSON schema lack."""
    if isinstance(schema, list):
        for part in schema:
            bound_integers(part, largest)
    elif isinstance(schema, dict):
        if schema.get("type") == "integer" and "enum" not in schema:
            for side, bound in (("Minimum", -largest), ("Maximum", largest)):
                if f"exclusive{side}" not in schema:
                    schema.setdefault(side.lower(), bound)
        for key, part in schema.items():
            if key != "anyOf" or "allOf" not in schema:  # beside `allOf`, `anyOf` is only shown
                bound_integers(part, largest)


def check_integers(value: Any, where: str) -> None:
    """Raises ValueError for an integer beyond `JSON_INTEGER`, anywhere in the value."""
    if isinstance(value, int) and not -JSON_INTEGER <= value <= JSON_INTEGER:
        raise ValueError(f"{where}: {value} is too large; an integer lies between -(2^53 - 1) and 2^53 - 1")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        check_integers(part, where)


def tag_of(model: type[Any]) -> tuple[str, str] | None:
    """(name, value) of the field that names a plug, which has one possible value; None for other models."""
    for name, field in model.model_fields.items():
        values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        if len(values) == 1 and field.default == values[0]:
            return name, values[0]
    return None


def title(name: str) -> str:
    """`max_rouge` and `MaxRouge` -> Max rouge."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")
    return words[:1].upper() + words[1:].lower()


class Choices:
    """Annotates a union of plugs whose members differ in the value of the field `tag`."""

    def __init__(self, tag: str):
        self.tag = tag

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        members = handler(core).get("oneOf", [])
        found = [handler.resolve_ref_schema(member) for member in members]
        groups: dict[frozenset[str], list[Schema]] = {}
        for one in found:
            groups.setdefault(frozenset(one["properties"]), []).append(one)
        names = [self._name(one) for one in found]
        rules = [self._rule(name, member) for name, member in zip(names, members, strict=True)]
        known = {"properties": {self.tag: {"enum": names}}, "required": [self.tag]}
        return {"anyOf": [self._shown(groups[keys]) for keys in sorted(groups, key=len)], "allOf": [known, *rules]}

    def _rule(self, name: str, member: Schema) -> Schema:
        return {"if": {"properties": {self.tag: {"const": name}}, "required": [self.tag]}, "then": member}

    def _shown(self, group: list[Schema]) -> Schema:
        """One section of the form, for one member, or for several with the same fields, whose tag is then a choice."""
        names = [self._name(one) for one in group]
        fields = {name: _shared([one["properties"][name] for one in group]) for name in group[0]["properties"]}
        fields[self.tag] = {**fields[self.tag], "type": "string", "enum": names, "default": names[0]}
        about = {name: one.get("description", "") for name, one in zip(names, group, strict=True)}
        alike = len(set(about.values())) == 1
        if not alike:
            fields[self.tag]["description"] = " ".join(f"{name}: {text}" for name, text in about.items() if text)
        shown = {"type": "object", "title": ", ".join(names), "properties": fields}
        return {**shown, "description": about[names[0]]} if alike and about[names[0]] else shown

    def _name(self, member: Schema) -> str:
        return member["properties"][self.tag]["enum"][0]


class NamedList:
    """Annotates a mapping from names to settings. A list of {name, `key`} is accepted too, and forms show this list."""

    def __init__(self, key: str):
        self.key = key

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._mapping, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        value = handler(core)["additionalProperties"]
        name = {
            "type": "string",
            "title": "Name",
            "description": "The name under which results are reported.",
            "minLength": 1,
        }
        fields = {"name": name, self.key: {**value, "title": title(self.key)}}
        item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
        return {"type": "array", "items": {"title": "Item", **item}}

    def values(self, mapping: dict[str, Any]) -> list[Any]:
        """The mapping as a list of {name, `key`}."""
        return [{"name": name, self.key: value} for name, value in mapping.items()]

    def _mapping(self, found: Any) -> Any:
        if not isinstance(found, list) or not all(isinstance(i, dict) and set(i) == {"name", self.key} for i in found):
            return found
        names = [item["name"] for item in found]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the name {min(twice)!r} is given twice")
        return {item["name"]: item[self.key] for item in found}


class Opaque:
    """Annotates a mapping that forms show as plain JSON. The model checks its content when the run starts."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return {"type": "object"}


def _shared(fields: list[Schema]) -> Schema:
    """The parts of a field's schema that several members have in common, without its bounds."""
    return _unbounded({key: v for key, v in fields[0].items() if all(field.get(key) == v for field in fields)})


def _unbounded(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_unbounded(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _unbounded(value) for key, value in schema.items() if key not in BOUNDS}
