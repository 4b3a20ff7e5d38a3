"""Where a run that a server started may read and write: below the roots of the worker, and nowhere else."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.errors import InputError

VARIABLE = "HASSE_ROOTS"
WEB = ("http://", "https://")


def allowed_roots() -> list[str]:
    """$HASSE_ROOTS, folders or URLs of object stores separated by commas; else the working directory."""
    return [root for root in os.environ.get(VARIABLE, "").split(",") if root] or [str(Path.cwd())]


def check_roots(values: Any, *, where: str) -> None:
    """Every value that leads to a file stays below the roots. Raises InputError, naming the field.

    Any text may be a path: what begins with / or ~, climbs by .., or is there and lies elsewhere is refused wherever it
    stands, so that a setting added later needs no entry in a list. Other texts lead nowhere, unless they are a Path.
    """
    roots = allowed_roots()
    for field, value in _texts(values, where):
        if _may_lead_somewhere(value) and not _stays_inside(str(value), roots):
            raise InputError(
                f"{field}: {str(value)!r} lies outside of what runs from the server may touch ({', '.join(roots)}); "
                f"move it there, or start the worker with {VARIABLE} naming more folders"
            )


def _texts(values: Any, where: str) -> Iterator[tuple[str, str | Path]]:
    if isinstance(values, (str, Path)):
        yield where, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _texts(value, f"{where}.{key}")
    elif isinstance(values, (list, tuple)):
        for i, value in enumerate(values):
            yield from _texts(value, f"{where}.{i}")


def _may_lead_somewhere(value: str | Path) -> bool:
    if isinstance(value, Path) or value.startswith(("/", "~")) or "://" in value or ".." in Path(value).parts:
        return True
    path = Path(value)
    try:
        return value != "" and any(place.exists() for place in (path, *path.parents[:-1]))
    except (OSError, ValueError):  # longer than a path may be, or a null byte in it
        return False


def _stays_inside(text: str, roots: list[str]) -> bool:
    scheme, separator, _ = text.partition("://")
    if separator and scheme.isalnum():
        return text.startswith(WEB) or any(f"{text}/".startswith(f"{root.rstrip('/')}/") for root in roots)
    try:
        # Where the path leads: links in it are followed, what does not exist stays as written.
        place = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # as above, or ~ of nobody
        return False
    return any(place.is_relative_to(Path(root).resolve()) for root in roots if "://" not in root)
