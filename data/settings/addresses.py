"""Refuse passwords and keys in the addresses of settings, which are stored with every run."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

ADDRESS = re.compile(r"[a-z][\w+.-]*://\S+", re.IGNORECASE)
SECRETS = re.compile(r"key|token|secret|passw|pwd|signature|credential|^sig$|^auth", re.IGNORECASE)
"""Names in a query whose values are secrets."""
MAX_CHARACTERS = 2000
"""The length of the longest address of an endpoint that is accepted."""
UNSEEN = re.compile(r"[\s\\\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e]")
"""Characters that no address has: white space, backslashes, control characters, and those that change the direction."""
KEY_FIELDS = re.compile(
    r"(?:x[-_])?api[-_]?key|authorization|bearer|(?:access|auth|api)[-_]?token|password|secret", re.I
)
"""Names of fields of a request whose values are secrets; others, such as max_tokens, are not."""


def without_secrets(address: object) -> object:
    """Return the address. Raises ValueError, without quoting the address, for what is no address of an endpoint.

    It may not hold a user, a query or a fragment, and needs a host and a possible port.
    """
    if isinstance(address, str):
        if len(address) > MAX_CHARACTERS:
            raise ValueError(f"the address has {len(address)} characters; at most {MAX_CHARACTERS} are allowed")
        _check_user(address)
        _check_shape(address)
        parts = urlsplit(address)
        if parts.query or parts.fragment:
            raise ValueError(
                "the address holds a query (?...) or a fragment (#...), where keys must not stand; leave it out"
            )
    return address


def check_no_keys(fields: object) -> None:
    """Raises ValueError, which names the field, if a field of a request, at any depth, is one that holds a key."""
    for name, value in fields.items() if isinstance(fields, Mapping) else ():
        if KEY_FIELDS.fullmatch(str(name)):
            raise ValueError(f"{name!r} would be stored with every run; name the variable with the key instead")
        check_no_keys(value)


def check_addresses(values: object, *, where: str = "") -> None:
    """Raises ValueError, which names the field, if any text in the values is an address with a secret in it."""
    if isinstance(values, str):
        if ADDRESS.fullmatch(values):
            try:
                _check_user(values)
                _check_query(values)
            except ValueError as error:
                raise ValueError(f"{where}: {error}" if where else str(error)) from None
    elif isinstance(values, Mapping):
        for name, value in values.items():
            check_addresses(value, where=f"{where}.{name}" if where else str(name))
    elif isinstance(values, Sequence) and not isinstance(values, bytes):
        for i, value in enumerate(values):
            check_addresses(value, where=f"{where}.{i}" if where else str(i))


def _check_user(address: str) -> None:
    try:
        has_user = "@" in urlsplit(address).netloc
    except ValueError:
        raise ValueError("the address cannot be read as scheme://host:port/path") from None
    if has_user:
        raise ValueError("the address holds a user or a password; leave them out, and name the variable with the key")


def _check_shape(address: str) -> None:
    parts = urlsplit(address)
    try:
        possible = bool(re.search(r"\w", parts.hostname or "")) and parts.port != 0
    except ValueError:  # a port beyond 65535 or of letters
        possible = False
    if not possible or ".." in parts.path.split("/") or UNSEEN.search(address):
        raise ValueError("the address cannot be used as scheme://host:port/path")


def _check_query(address: str) -> None:
    if named := [
        name for name, _ in parse_qsl(urlsplit(address).query, keep_blank_values=True) if SECRETS.search(name)
    ]:
        raise ValueError(f"the address holds {named[0]!r} in its query; keys stand in environment variables")
