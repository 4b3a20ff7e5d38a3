"""Render Jinja templates of users in a sandbox with limits on steps and text.

A template may come from anywhere, for instance from a folder that many people can write to, so it is not trusted. It
can read the values that it is given, but not their attributes behind the sandbox, cannot change them, and cannot open
other files. Loops, calls and the length of texts are limited, so that no template keeps a run busy or fills its memory.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hasse.data.errors import SourceError

MAX_FILE_BYTES = 1_000_000
MAX_STEPS = 100_000
"""The limit on loop iterations and calls in one rendering."""
MAX_CHARACTERS = 10_000_000
"""The limit on the rendered text and all intermediate texts together."""
MAX_BITS = 1024
"""The limit on the size of integers."""

FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int",
    "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round",
    "safe", "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "truncate", "unique", "upper",
    "wordcount",
)  # fmt: skip
"""The allowed filters. None of them makes a long text from a short one."""
TEXT_METHODS = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "isalnum", "isalpha", "isdecimal", "isdigit", "islower",
    "isspace", "istitle", "isupper", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "rfind",
    "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
})  # fmt: skip
"""The allowed methods of texts. (`format` and `ljust` can pad to any width, and `replace` can multiply a text.)"""
FORMAT = re.compile(r"%[-+ #0]?\d{0,2}(\.\d{1,2})?[sdfgeEG%]")
LEFT = "left "
"""The key of the remaining steps and characters. No template can name it, since no name ends in a space."""


def render(path: Path, values: dict[str, Any]) -> str:
    """Render the template in a file. Raises SourceError that names the file and what the template did."""
    return _rendered(template(path), values, path)


def render_text(source: str, values: dict[str, Any], *, where: str) -> str:
    """Render a template that is given as text. Raises SourceError that names `where` and what the template did."""
    try:
        compiled = _compiled_text(source)
    except (TemplateError, SyntaxError, RecursionError) as error:
        raise SourceError(f"cannot be used as a template: {error}", file=where) from error
    return _rendered(compiled, values, where)


def names_in(source: str) -> set[str]:
    """The names of values that a template uses. Raises ValueError for a text that is no template."""
    try:
        return meta.find_undeclared_variables(ENVIRONMENT.parse(source)) - set(ENVIRONMENT.globals)
    except (TemplateError, SyntaxError, RecursionError) as error:
        raise ValueError(f"cannot be used as a template: {error}") from error


def _rendered(compiled: Template, values: dict[str, Any], where: Path | str) -> str:
    try:
        return compiled.render({**values, LEFT: {"steps": MAX_STEPS, "characters": MAX_CHARACTERS}})
    except SecurityError as error:
        raise SourceError(f"does what a template may not do: {error}", file=where) from error
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise SourceError(f"cannot be used as a template: {error}", file=where) from error
    except RecursionError:
        raise SourceError("cannot be used as a template: its macros call each other without end", file=where) from None


@lru_cache(maxsize=64)
def _compiled_text(source: str) -> Template:
    return ENVIRONMENT.from_string(source)


def template(path: Path) -> Template:
    """The compiled template of a file in its present version. Raises SourceError for a file that is no template."""
    try:
        if not path.is_file():
            raise SourceError("there is no such file", file=path)
        size, modified = path.stat().st_size, path.stat().st_mtime_ns
        if size > MAX_FILE_BYTES:
            raise SourceError(f"has {size:,} bytes; a template has {MAX_FILE_BYTES:,} at most", file=path)
        if (path, modified, size) not in _compiled:
            _compiled[path, modified, size] = ENVIRONMENT.from_string(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise SourceError("cannot be used as a template: it is nested too deeply", file=path) from None
    except (TemplateError, OSError, UnicodeDecodeError, SyntaxError) as error:
        raise SourceError(f"cannot be used as a template: {error}", file=path) from error
    return _compiled[path, modified, size]


_compiled: dict[tuple[Path, int, int], Template] = {}


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, whose templates take a bounded number of steps and make texts of a bounded length."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
        known = {name: self.filters[name] for name in FILTERS if name in self.filters}
        self.filters = known | {"join": _join, "each step": _each_step, "counted text": _counted_text}
        self.globals = {"range": self.globals["range"], "dict": dict, "namespace": self.globals["namespace"]}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The syntax tree, with counters of iterations in loops and of characters in outputs and concatenations."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "each step", [], [], None, None)
        for written in list(tree.find_all((nodes.Output, nodes.Concat))):
            written.nodes = [_counted(part) for part in written.nodes]
        return tree

    def wrap_str_format(self, value: Any) -> None:
        """Treat `format` as an ordinary method, which is not among the allowed ones: it can pad to any width."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in TEXT_METHODS
        return not isinstance(obj, (bytes, bytearray)) and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _take(__context, "steps", 1)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            if re.sub(FORMAT, "", left).count("%"):
                raise SecurityError(f"{left!r:.60} is a format beyond %d, %s, %g and widths of two digits")
        elif operator == "**" or not _is_small(operator, left, right):
            raise SecurityError(f"the result of {operator} may be too large for a template")
        return super().call_binop(context, operator, left, right)


def _is_small(operator: str, left: Any, right: Any) -> bool:
    """Whether the result of an operator stays within the limits on integers, texts and lists."""
    if all(isinstance(value, (int, float)) for value in (left, right)):
        return all(isinstance(value, float) or value.bit_length() < MAX_BITS for value in (left, right))
    sizes = [len(value) if hasattr(value, "__len__") else value for value in (left, right)]
    size = sizes[0] * sizes[1] if operator == "*" else sum(sizes) if operator == "+" else 0
    return size <= MAX_CHARACTERS


def _counted(part: nodes.Expr) -> nodes.Expr:
    text = nodes.Const(part.data) if isinstance(part, nodes.TemplateData) else part
    return nodes.Filter(text, "counted text", [], [], None, None)


def _take(context: Context, what: str, number: int) -> None:
    left = context.resolve_or_missing(LEFT)
    left[what] -= number
    if left[what] < 0:
        most = {"steps": f"{MAX_STEPS:,} turns of loops and calls", "characters": f"{MAX_CHARACTERS:,} characters"}
        raise SecurityError(f"it makes more than {most[what]}")


@pass_context
def _each_step(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _take(context, "steps", 1)
        yield item


@pass_context
def _counted_text(context: Context, value: Any) -> str:
    text = str(value)
    _take(context, "characters", len(text))
    return text


@pass_context
def _join(context: Context, items: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    found = list(islice(items, MAX_STEPS + 1))
    if attribute is not None:
        found = [context.environment.getitem(item, attribute) for item in found]
    texts = [str(item) for item in found]
    if len(texts) > MAX_STEPS or sum(map(len, texts)) + len(texts) * len(str(d)) > MAX_CHARACTERS:
        raise SecurityError("the result of join may be too large for a template")
    return str(d).join(texts)


ENVIRONMENT = Sandbox()
