"""How settings models look as a form: titles to read, choices by name, lists where a form cannot show a mapping.

Only the JSON schema is made here; what a recipe may hold stays as the models say. The pages of Prefect decide which
member of a union a value belongs to by counting the keys that both have, and take the first of the best. So members
with the same keys are shown as one, with their names as a choice, and those with fewer keys stand first.
What the pages show (`anyOf`) is not what decides (`allOf`): a wrong value is then reported at its own field.
"""

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

Schema = dict[str, Any]
JSON_INTEGER = 2**53 - 1
"""The largest integer that every reader of JSON keeps exactly; with a run of 2^70, Prefect's server lists no runs."""
MAX_SEED = 2**32 - 1
"""What numpy, torch, vLLM and chat endpoints all accept."""
MAX_NUMBER = 2**31 - 1
"""Of whole numbers that are no seed: what every library and file format holds."""
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "minItems", "maxItems", "pattern")


def readable(schema: Schema, model: type[Any]) -> None:
    """Titles of a model and its fields; the field that names a plug must be there and has one value."""
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
    """Give every integer in a JSON schema a bound, on a side where it has none."""
    if isinstance(schema, list):
        for part in schema:
            bound_integers(part, largest)
    elif isinstance(schema, dict):
        if schema.get("type") == "integer" and "enum" not in schema:
            for side, bound in (("Minimum", -largest), ("Maximum", largest)):
                if f"exclusive{side}" not in schema:
                    schema.setdefault(side.lower(), bound)
        for key, part in schema.items():
            if key != "anyOf" or "allOf" not in schema:  # what a choice shows, beside what decides
                bound_integers(part, largest)


def check_integers(value: Any, where: str) -> None:
    """Raises ValueError for an integer, anywhere in the value, beyond `JSON_INTEGER`."""
    if isinstance(value, int) and not -JSON_INTEGER <= value <= JSON_INTEGER:
        raise ValueError(f"{where}: {value} is too large; an integer lies between -(2^53 - 1) and 2^53 - 1")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        check_integers(part, where)


def tag_of(model: type[Any]) -> tuple[str, str] | None:
    """The field with one possible value that names a plug, and the value."""
    for name, field in model.model_fields.items():
        values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        if len(values) == 1 and field.default == values[0]:
            return name, values[0]
    return None


def title(name: str) -> str:
    """`max_rouge` and `MaxRouge` -> Max rouge; names of plugs stay as a recipe has them."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")
    return words[:1].upper() + words[1:].lower()


class Choices:
    """Beside a union of plugs, told apart by the field `tag`."""

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
        """One section of the form, for a member or for several with the same fields, whose tag is a choice."""
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
    """Beside a mapping from names to settings: a list of {name, `key`} does as well, and is what a form shows."""

    def __init__(self, key: str):
        self.key = key

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._mapping, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        value = handler(core)["additionalProperties"]
        name = {"type": "string", "title": "Name", "description": "What results are reported under.", "minLength": 1}
        fields = {"name": name, self.key: {**value, "title": title(self.key)}}
        item = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
        return {"type": "array", "items": {"title": "Item", **item}}

    def values(self, mapping: dict[str, Any]) -> list[Any]:
        """The list that stands for a mapping."""
        return [{"name": name, self.key: value} for name, value in mapping.items()]

    def _mapping(self, found: Any) -> Any:
        if not isinstance(found, list) or not all(isinstance(i, dict) and set(i) == {"name", self.key} for i in found):
            return found
        names = [item["name"] for item in found]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the name {min(twice)!r} is given twice")
        return {item["name"]: item[self.key] for item in found}


class Opaque:
    """Beside a mapping that a form can only show as JSON: what it may hold, the model says when the run starts."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        return {"type": "object"}


def _shared(fields: list[Schema]) -> Schema:
    """What the same field of several members has in common, without its bounds."""
    return _unbounded({key: v for key, v in fields[0].items() if all(field.get(key) == v for field in fields)})


def _unbounded(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_unbounded(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _unbounded(value) for key, value in schema.items() if key not in BOUNDS}
