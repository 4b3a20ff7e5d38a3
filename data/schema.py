"""Arrow schemas, derived from the record classes and versioned."""

import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from hasse.data.errors import SchemaError

NOT_IN_KEYS = "it keeps what a stage computes; a mend that changes results raises the stage's version"

_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _partial_order_2(table: pa.Table) -> pa.Table:
    """`dropped`: no pair had been given up before there was a way to."""
    pairs = table.schema.field("pairs")
    none = pa.array([[]] * len(table), pairs.type)
    return table.add_column(table.schema.get_field_index("target") + 1, pairs.with_name("dropped"), none)


def _candidate_2(table: pa.Table) -> pa.Table:
    """`reasoning`: thinking had not been kept apart from the answer."""
    at = table.schema.get_field_index("text") + 1
    return table.add_column(at, pa.field("reasoning", pa.string()), pa.nulls(len(table), pa.string()))


def _prompt_2(table: pa.Table) -> pa.Table:
    """`drafts`: none had been read."""
    kind = table.schema.field("answers")
    none = pa.array([[]] * len(table), kind.type)
    return table.add_column(table.schema.get_field_index("reference") + 1, kind.with_name("drafts"), none)


def _evaluation_2(table: pa.Table) -> pa.Table:
    """Nearness, the experts' log-probs and held-out pairs had not been measured."""
    at = table.schema.get_field_index("correct_loose") + 1
    columns = ("pair_margin", "pair_accuracy", "reference_tokens", "reference_logprob", "score")
    for name in columns:
        kind = pa.int64() if name == "reference_tokens" else pa.float64()
        table = table.add_column(at, pa.field(name, kind), pa.nulls(len(table), kind))
    return table


def _evaluation_3(table: pa.Table) -> pa.Table:
    """The first-mentioned label had not been read, and a prompt without a gold answer counted as answered wrongly."""
    for name in ("correct_strict", "correct_loose"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, pa.field(name, pa.bool_()), table[name])
    for name, after, kind in (
        ("label_first", "label_loose", pa.string()),
        ("correct_first", "correct_loose", pa.bool_()),
    ):
        at = table.schema.get_field_index(after) + 1
        table = table.add_column(at, pa.field(name, kind), pa.nulls(len(table), kind))
    return table


def _judgement_2(table: pa.Table) -> pa.Table:
    """Where a candidate stood and pairwise questions had not been kept."""
    presentation = [("slot", pa.int64(), False), ("total", pa.float64(), True), ("num_asks", pa.int64(), False)]
    verdict = [("other", pa.string(), False), ("verdict", pa.string(), False)]
    at = table.schema.get_field_index("presentation_order") + 1
    for name, parts in (("verdicts", verdict), ("presentations", presentation)):
        element = pa.field("element", pa.struct([pa.field(*part) for part in parts]), nullable=False)
        kind = pa.list_(element)
        table = table.add_column(at, pa.field(name, kind, nullable=False), pa.array([[]] * len(table), kind))
    return table


def _judgement_3(table: pa.Table) -> pa.Table:
    """`judges`: one judge alone had judged."""
    parts = [("judge", pa.string(), False), ("teacher", pa.string(), False), ("total", pa.float64(), True)]
    parts.append(("status", pa.string(), False))
    kind = pa.list_(pa.field("element", pa.struct([pa.field(*part) for part in parts]), nullable=False))
    at = table.schema.get_field_index("verdicts") + 1
    return table.add_column(at, pa.field("judges", kind, nullable=False), pa.array([[]] * len(table), kind))


MIGRATIONS: dict[tuple[str, int], Callable[[pa.Table], pa.Table]] = {
    ("Prompt", 1): _prompt_2,
    ("Candidate", 1): _candidate_2,
    ("PartialOrder", 1): _partial_order_2,
    ("Evaluation", 1): _evaluation_2,
    ("Evaluation", 2): _evaluation_3,
    ("Judgement", 1): _judgement_2,
    ("Judgement", 2): _judgement_3,
}
"""(record name, version found) -> function that gives the table of the next version."""


@cache
def schema_of(record: type) -> pa.Schema:
    """The Arrow schema of a record class, its name and `schema_version` in the metadata."""
    metadata = {"record": record.__name__, "schema_version": str(record.schema_version)}
    return pa.schema(_struct_fields(record), metadata=metadata)


def conform(table: pa.Table, record: type, *, where: str) -> pa.Table:
    """`table` in the current schema of `record`: checked, and migrated from an older version if there is a way.

    Raises SchemaError, showing both schemas, when the table holds something else.
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
    if get_origin(hint) in (Union, types.UnionType):
        rest = [a for a in get_args(hint) if a is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
