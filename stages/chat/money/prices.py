"""The price of a model: from the settings, else from the user's file of prices; a server on this machine is free.

The file is `~/.config/hasse/prices.yaml`, or the file that HASSE_PRICES names. Like `prices` in the settings it gives
prices by the model's name. A model without a price is never assumed to be free.
"""

import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from hasse.data.errors import InputError
from hasse.data.settings import Config
from hasse.pipeline.settings_file import read_yaml, validate
from hasse.stages.chat.settings import ChatSettings, Price

VARIABLE = "HASSE_PRICES"
FREE = Price(free=True)


class _File(Config):
    prices: dict[str, Price]


def known_price(settings: ChatSettings) -> Price | None:
    """The price of the model, or None where it is not known.

    With `budget_usd` a server on this machine needs a price too, since it may pass questions on to a server that
    charges.
    """
    known = {**users_prices(), **settings.prices}
    if settings.model in known:
        return known[settings.model]
    return FREE if settings.budget_usd is None and is_on_this_machine(settings.base_url) else None


def price_of(settings: ChatSettings) -> Price:
    """The price of the model. Raises InputError where it is not known."""
    price = known_price(settings)
    if price is None:
        priced = ", ".join({**users_prices(), **settings.prices}) or "none"
        raise InputError(
            f"the price of the model {settings.model!r} is not known (known: {priced}), and none is taken to be free; "
            f"give input and output in dollars per million tokens, or free: true, in `prices` beside it or in {_path()}"
        )
    return price


def users_prices() -> dict[str, Price]:
    """The prices in the user's file. Raises InputError for an unreadable file, or if HASSE_PRICES names no file."""
    path = _path()
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise InputError(f"{VARIABLE} names {path}, which is no file")
        return {}
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, modified: int) -> dict[str, Price]:
    return validate(_File, {"prices": read_yaml(path, what="the file of prices")}, where=f"{path}").prices


def _path() -> Path:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path("~/.config/hasse/prices.yaml").expanduser()


def is_on_this_machine(base_url: str | None) -> bool:
    host = urlsplit(base_url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
