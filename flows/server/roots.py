"""Limits the folders, endpoints, programs, keys and addresses that a run started by a server may use.

A user of the pages can write any recipe. The owner of the worker lists, in environment variables and separated by
commas, what such a recipe may name:

    HASSE_ROOTS       folders and URLs of object stores; left out: the working directory
    HASSE_ENDPOINTS   chat endpoints beside the provider's own and servers on this machine
    HASSE_KEYS        variables with keys beside OPENAI_API_KEY; keys of Secret blocks need not stand here
    HASSE_PROGRAMS    interpreters and folders with tasks of lm-eval
    HASSE_ADDRESSES   addresses of Ray and of machine 0, beside this machine
"""

import glob
import ipaddress
import os
import re
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from hasse.data.errors import InputError
from hasse.flows.recipe import places
from hasse.flows.server.secrets import loaded_keys

VARIABLE = "HASSE_ROOTS"
ENDPOINTS, KEYS, PROGRAMS, ADDRESSES = "HASSE_ENDPOINTS", "HASSE_KEYS", "HASSE_PROGRAMS", "HASSE_ADDRESSES"
WEB = ("http", "https")
KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*_(KEY|TOKEN|SECRET)")
"""Names of variables that a Secret block may set: not PATH, or any other variable that programs read."""
SAFE_PARAMETERS = frozenset({"region"})
"""Parameters that a store's URL may have, with one word as value. Others, such as endpoint_override, and a region with
a dot or a slash, would lead to another server."""
MAX_ENTRIES = 100_000
GLOB = re.compile(r"[*?\[]")


def allowed_roots() -> list[str]:
    """$HASSE_ROOTS, folders or URLs of object stores separated by commas; else the working directory."""
    return _listed(VARIABLE) or [str(Path.cwd())]


def check_roots(values: Any, *, where: str) -> None:
    """Raises InputError, with the field, if the values name something that the worker's owner has not allowed.

    Any text may be a path. A text that begins with / or ~, climbs by .., or names an existing file is checked in every
    field, so that a new setting needs no entry in a list. Other texts are checked only in fields that hold paths.
    """
    roots = allowed_roots()
    for field, name, value in _texts(values, where, ""):
        for names, check in _CHECKS:
            if name in names:
                check(field, str(value))
        if name in places.ENDPOINTS | places.PROGRAMS | places.ADDRESSES:
            continue
        is_path = name in places.PATHS
        leads = _may_lead_somewhere(value) or (is_path and _is_pattern_or_chain(str(value)))
        if leads and not _stays_inside(str(value), roots, is_path=is_path):
            why = f"lies outside of what runs from the server may touch ({', '.join(roots)})"
            _refuse(field, str(value), why, VARIABLE)


def _listed(variable: str) -> list[str]:
    return [item.strip() for item in os.environ.get(variable, "").split(",") if item.strip()]


def _refuse(field: str, value: str, why: str, variable: str) -> None:
    raise InputError(f"{field}: {value!r:.300} {why}; give another, or have the worker's owner list it in {variable}")


def _texts(values: Any, where: str, name: str) -> Iterator[tuple[str, str, str | Path]]:
    """(dotted field, its own name, text) of every text."""
    if isinstance(values, (str, Path)):
        yield where, name, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _texts(value, f"{where}.{key}", str(key))
    elif isinstance(values, (list, tuple)):
        for i, value in enumerate(values):
            yield from _texts(value, f"{where}.{i}", name)


def _check_endpoint(field: str, url: str) -> None:
    if not (_is_here(url) or _is_listed(url, _listed(ENDPOINTS))):
        _refuse(field, url, "is no endpoint that runs from the server may send prompts and keys to", ENDPOINTS)


def _check_variable(field: str, variable: str) -> None:
    if variable in ("OPENAI_API_KEY", *_listed(KEYS)):
        return
    set_by_owner = variable in os.environ and variable not in loaded_keys
    if set_by_owner or not KEY_NAME.fullmatch(variable):
        _refuse(field, variable, "is no variable whose content runs from the server may send", KEYS)


def _check_program(field: str, program: str) -> None:
    allowed = [sys.executable, *_listed(PROGRAMS)]
    if program not in allowed and os.path.realpath(program) not in map(os.path.realpath, _listed(PROGRAMS)):
        _refuse(field, program, "is no program that runs from the server may start", PROGRAMS)


def _check_name(field: str, name: str) -> None:
    if not re.fullmatch(r"[\w.+-]+", name) or name.endswith((".yaml", ".yml")) or Path(name).exists():
        _refuse(field, name, "may be a file with code", PROGRAMS)


def _check_address(field: str, address: str) -> None:
    if address in ("auto", "local", *_listed(ADDRESSES)) or _is_here(address if "://" in address else f"//{address}"):
        return
    _refuse(field, address, "is no address that runs from the server may join", ADDRESSES)


_CHECKS: tuple[tuple[frozenset[str], Callable[[str, str], None]], ...] = (
    (places.ENDPOINTS, _check_endpoint),
    (places.VARIABLES, _check_variable),
    (places.PROGRAMS, _check_program),
    (places.NAMES_ALONE, _check_name),
    (places.ADDRESSES, _check_address),
)


def _may_lead_somewhere(value: str | Path) -> bool:
    if isinstance(value, Path) or value.startswith(("/", "~", "\\")) or "://" in value or ".." in Path(value).parts:
        return True
    if value.partition(":")[0].lower() == "file":
        return True
    path = Path(value)
    try:
        return value != "" and any(place.exists() for place in (path, *path.parents[:-1]))
    except (OSError, ValueError):  # longer than a path may be, or a null byte in it
        return False


def _is_pattern_or_chain(text: str) -> bool:
    """Whether a path is a pattern that matches something, or a chain of file systems, such as zip::s3://bucket/x."""
    return "::" in text or any(True for _ in _fitting(text))


def _stays_inside(text: str, roots: list[str], *, is_path: bool) -> bool:
    scheme, separator, _ = text.partition("://")
    if is_path and "::" in text:
        return False
    if text.lower().startswith("file:"):
        text = unquote(text[len("file:") :]).removeprefix("//localhost").removeprefix("//")
    elif separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        if scheme.lower() in WEB:
            return _is_here(text) or _is_listed(text, _listed(ENDPOINTS))
        return _is_listed(text, roots)
    folders = [Path(root).resolve() for root in roots if "://" not in root]
    try:
        # Where the path leads: links in it are followed, what does not exist stays as written.
        place = Path(text).expanduser()
        found = [place, *(_behind(place) if is_path else ())]
        return all(any(one.resolve().is_relative_to(folder) for folder in folders) for one in found)
    except (OSError, RuntimeError, ValueError):  # as above, or ~ of nobody
        return False


def _behind(place: Path) -> Iterator[Path]:
    """The files that a pattern matches, and the links inside folders, which may lead elsewhere."""
    matches = list(_fitting(str(place))) or [place]
    yield from matches
    for folder in matches:
        if folder.is_dir():
            entries = (Path(top) / name for top, dirs, files in os.walk(folder) for name in (*dirs, *files))
            yield from (entry for entry in islice(entries, MAX_ENTRIES) if entry.is_symlink())


def _fitting(pattern: str) -> Iterator[Path]:
    """The files and folders that a pattern matches; none for a text that is not a pattern."""
    if GLOB.search(pattern) and "\0" not in pattern:
        names = glob.iglob(pattern, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        yield from (Path(name) for name in islice(names, MAX_ENTRIES))


def _is_here(url: str) -> bool:
    """Whether the URL leads to this machine, without a user's name or a port of nonsense in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        return not parts.username and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def _is_listed(url: str, listed: list[str]) -> bool:
    """Whether the URL is listed, or lies below a listed URL, without any part that could lead elsewhere."""
    try:
        parts = urlsplit(url)
        path = unquote(parts.path)
        steps = [step for step in path.split("/") if step]
        twisted = ".." in steps or "." in steps or "%" in path or "\\" in url or any(c <= " " for c in url)
        if twisted or parts.username or parts.password or parts.fragment:
            return False
        given = parse_qsl(parts.query, keep_blank_values=True)
        if any(name not in SAFE_PARAMETERS or not re.fullmatch(r"[\w-]+", value) for name, value in given):
            return url in listed
    except ValueError:
        return False
    for root in (urlsplit(item) for item in listed if "://" in item):
        same = (root.scheme.lower(), root.netloc.lower()) == (parts.scheme.lower(), parts.netloc.lower())
        below = [step for step in unquote(root.path).split("/") if step]
        if same and steps[: len(below)] == below:
            return True
    return False
