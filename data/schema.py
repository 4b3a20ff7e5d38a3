"""Arrow schemas, derived from the record classes."""

import types
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from hasse.data.errors import SchemaError
from hasse.data.migrations import MIGRATIONS

NOT_IN_KEYS = "it stores what a stage computes; a change that alters results raises the stage's version"

_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


@cache
def schema_of(record: type) -> pa.Schema:
    """The Arrow schema of a record class. Its metadata hold the record's name and `schema_version`."""
    metadata = {"record": record.__name__, "schema_version": str(record.schema_version)}
    return pa.schema(_struct_fields(record), metadata=metadata)


def conform(table: pa.Table, record: type, *, where: str) -> pa.Table:
    """Check that a table has the current schema of `record`; an older version is migrated.

    Raises SchemaError, which shows both schemas, for a table with any other schema.
    """
    expected, found = schema_of(record), table.schema
    name, version = _identity(found)
    while (name, version) in MIGRATIONS and version < record.schema_version:
        table = MIGRATIONS[name, version](table)
        version += 1
        table = table.replace_schema_metadata({"record": name, "schema_version": str(version)})
    if not table.schema.equals(expected, check_metadata=True):
        raise SchemaError(
            f"{where} does not hold {record.__name__} rows of version {record.schema_version}.\n"
            f"found ({name or 'no record name'}, version {version}):\n{_describe(found)}\n"
            f"expected:\n{_describe(expected)}"
        )
    return table


def _identity(schema: pa.Schema) -> tuple[str, int]:
    metadata = schema.metadata or {}
    return metadata.get(b"record", b"").decode(), int(metadata.get(b"schema_version", b"0"))


def _describe(schema: pa.Schema) -> str:
    return "\n".join(f"  {field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema)


def _struct_fields(record: type) -> list[pa.Field]:
    hints = get_type_hints(record)
    return [_field(f.name, hints[f.name]) for f in fields(record)]


def _field(name: str, hint: Any) -> pa.Field:
    hint, nullable = without_none(hint)
    return pa.field(name, _arrow_type(hint), nullable=nullable)


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return pa.string()
    if origin is Annotated:
        return arguments[1]
    if origin is tuple and arguments[1:] == (...,):
        return pa.list_(_field("element", arguments[0]))
    if isinstance(hint, type) and is_dataclass(hint):
        return pa.struct(_struct_fields(hint))
    raise TypeError(f"a record field of type {hint} has no Arrow type")


def without_none(hint: Any) -> tuple[Any, bool]:
    """Split `X | None` into (X, True); any other type hint is returned with False."""
    if get_origin(hint) in (Union, types.UnionType):
        rest = [a for a in get_args(hint) if a is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
