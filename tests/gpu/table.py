"""The rows of the check and the machine that it runs on."""

from collections.abc import Sequence
from dataclasses import dataclass

MARKS = {True: "yes", False: "NO", None: "not tried"}


@dataclass(frozen=True)
class Machine:
    """device: cuda or cpu; tiny: whether this is a rehearsal with the smallest models."""

    device: str
    tiny: bool


@dataclass(frozen=True)
class Row:
    """One line of the table. ok: None for what this machine cannot try."""

    check: str
    expected: str
    found: str
    ok: bool | None


def table(rows: Sequence[Row]) -> str:
    """The rows under a heading, as aligned columns."""
    lines = [("check", "expected", "found", "ok"), *((r.check, r.expected, r.found, MARKS[r.ok]) for r in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
