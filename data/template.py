"""Templates such as "{prompt}\\n\\nAn answer:\\n{reference}", in which a name in braces stands for a text.

`str.format` would also follow `{prompt.__class__}`, index, convert and pad; a template that asks for this is refused.
`{{` and `}}` stand for braces.
"""

import string
from collections.abc import Collection, Mapping

from hasse.data.settings.registry import unknown


def placeholders(template: str) -> list[str]:
    """The names in braces, in order. Raises ValueError if a pair of braces holds more than a name."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"the template is not well-formed ({error}); write {{{{ and }}}} for braces") from error
    for _, name, spec, conversion in parts:
        if name is not None and (spec or conversion or not name.strip()):
            written = f"{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}"
            raise ValueError(f"the template holds {{{written}}}; only a name may stand in braces")
    return [name for _, name, _, _ in parts if name is not None]


def check_placeholders(template: str, needed: Collection[str], *, allowed: Collection[str] = ()) -> str:
    """Return the template if it has all needed names and, beside these, only allowed ones. Raises ValueError."""
    found, known = placeholders(template), sorted({*needed, *allowed})
    for name in found:
        if name not in known:
            raise ValueError(f"the template: {unknown(name, known, kind='name in braces')}")
    for name in needed:
        if name not in found:
            raise ValueError(f"the template has no {{{name}}}")
    return template


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put a text in the place of each name."""
    names = placeholders(template)
    for name in names:
        if name not in values:
            raise ValueError(f"the template: {unknown(name, sorted(values), kind='name in braces')}")
    parts = string.Formatter().parse(template)
    return "".join(literal + ("" if name is None else values[name]) for literal, name, _, _ in parts)
