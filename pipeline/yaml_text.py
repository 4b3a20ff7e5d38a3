"""Read YAML by the core schema of YAML 1.2, safely, also from untrusted text.

`yes`, `no`, `on`, `off`, `1:30`, `1_000` and `2024-05-01` are texts; `1e-5` is a number and `012` is twelve. Repeated
keys and unknown tags are refused, and the depth and the number of values, with those of aliases, are limited.
PyYAML alone reads YAML 1.1, in which `labels: [yes, no]` holds two booleans.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

MAX_CHARACTERS = 2_000_000
MAX_DEPTH = 100
MAX_NODES = 100_000
"""The largest number of values; each alias counts as all values of its anchor."""

TAG = "tag:yaml.org,2002:"
TAGS = tuple(TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))
PLAIN = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}
"""Type -> (pattern of its values without quotes, their possible first characters). Everything else is text."""


class YamlError(ValueError):
    """The text is not YAML of this kind. The message says what is wrong and, if known, where."""


def parse_yaml(text: str | bytes) -> Any:
    """The value of one YAML document: mappings, lists, texts, numbers, booleans and None. Raises YamlError."""
    decoded = _decoded(text)
    try:
        _check(yaml.parse(decoded, Loader=yaml.SafeLoader))
        return yaml.load(decoded, Loader=_Loader)
    except yaml.YAMLError as error:
        raise YamlError(_one_line(error)) from error
    except RecursionError:
        raise YamlError("a value contains itself, or is nested too deeply") from None


def _decoded(text: str | bytes) -> str:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise YamlError(f"byte {error.start} is not UTF-8 text; save the file as UTF-8") from None
    if len(decoded) > MAX_CHARACTERS:
        raise YamlError(f"it has {len(decoded):,} characters; {MAX_CHARACTERS:,} are read at most")
    return decoded


def _check(events: Iterator[Any]) -> None:
    """Raises YamlError for unknown tags, and for aliases or nesting beyond the limits."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # anchor, values so far
    for event in events:
        if isinstance(event, CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
        elif isinstance(event, NodeEvent):
            size = _alias_size(event, sizes) if isinstance(event, AliasEvent) else 1
            _add(open_nodes, sizes, event.anchor if not isinstance(event, AliasEvent) else None, size)
        elif isinstance(event, CollectionEndEvent):
            _add(open_nodes, sizes, *open_nodes.pop())
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in (*TAGS, "!"):
            raise YamlError(f"the tag {tag!r} is not known ({_place(event.start_mark)}); leave it out")
        if len(open_nodes) > MAX_DEPTH:
            raise YamlError(f"it is nested more than {MAX_DEPTH} deep ({_place(event.start_mark)})")


def _alias_size(event: AliasEvent, sizes: dict[str, int]) -> int:
    if event.anchor not in sizes:
        where = _place(event.start_mark)
        raise YamlError(f"*{event.anchor} stands for nothing before it, or for a value that contains it ({where})")
    return sizes[event.anchor]


def _add(open_nodes: list[tuple[str | None, int]], sizes: dict[str, int], anchor: str | None, size: int) -> None:
    """Add the size of a finished value to the value that contains it."""
    if anchor is not None:
        sizes[anchor] = size
    outer, before = open_nodes[-1]
    open_nodes[-1] = (outer, before + size)
    if before + size > MAX_NODES:
        raise YamlError(f"it holds more than {MAX_NODES:,} values, with those that its aliases stand for")


class _Loader(yaml.SafeLoader):
    """`yaml_implicit_resolvers`: the first character of a text -> its possible types."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  as in PyYAML

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node)
        return super().construct_mapping(node, deep=deep)

    def construct_core_int(self, node: Any) -> int:
        text = str(self.construct_scalar(node))
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return _number(node, text, lambda: int(text, base))

    def construct_core_float(self, node: Any) -> float:
        text = str(self.construct_scalar(node))
        return _number(node, text, lambda: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")))


def _number(node: Any, text: str, read: Any) -> Any:
    try:
        return read()
    except ValueError:
        raise YamlError(f"{text!r:.60} is not a number that can be read ({_place(node.start_mark)})") from None


def _refuse_twice(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(f"a key must be a text ({_place(key.start_mark)})")
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            raise YamlError(f"the key {key.value!r} stands twice, in line {lines[name]} and in line {line}")
        lines[name] = line


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem} ({_place(mark)})" if mark else str(problem)


for _name, (_pattern, _first) in PLAIN.items():
    _Loader.add_implicit_resolver(TAG + _name, re.compile(rf"^(?:{_pattern})$"), list(_first.replace("\0", "")))
_Loader.yaml_implicit_resolvers.setdefault("", []).append((f"{TAG}null", re.compile(r"^$")))
_Loader.add_constructor(f"{TAG}int", _Loader.construct_core_int)
_Loader.add_constructor(f"{TAG}float", _Loader.construct_core_float)
