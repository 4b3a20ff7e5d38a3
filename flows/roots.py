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
    """Every text in the values that leads to a file stays below the roots. Raises InputError, naming the field.

    Any text may be a path: what begins with / or ~, climbs by .., or is a link that leads out is refused wherever it
    stands, so that a setting added later needs no entry in a list.
    """
    roots = allowed_roots()
    for field, text in _texts(values, where):
        if not _stays_inside(text, roots):
            raise InputError(
                f"{field}: {text!r} lies outside of what runs from the server may touch ({', '.join(roots)}); "
                f"move it there, or start the worker with {VARIABLE} naming more folders"
            )


def _texts(values: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(values, (str, Path)):
        yield where, str(values)
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _texts(value, f"{where}.{key}")
    elif isinstance(values, (list, tuple)):
        for i, value in enumerate(values):
            yield from _texts(value, f"{where}.{i}")


def _stays_inside(text: str, roots: list[str]) -> bool:
    scheme, separator, _ = text.partition("://")
    if separator and scheme.isalnum():
        return text.startswith(WEB) or any(f"{text}/".startswith(f"{root.rstrip('/')}/") for root in roots)
    try:
        # Where the path leads: links in it are followed, what does not exist stays as written.
        place = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        # Longer than a path may be, ~ of nobody, or a null byte in it: nothing opens it either.
        return not text.startswith(("/", "~"))
    return any(place.is_relative_to(Path(root).resolve()) for root in roots if "://" not in root)
