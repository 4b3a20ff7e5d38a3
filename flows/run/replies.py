"""The cache of chat endpoints' replies, which cost money: show it and delete it."""

import os
from pathlib import Path
from typing import Any

from hasse.pipeline.store import Store
from hasse.stages.chat.cache.file import contents, delete, path_in
from hasse.stages.chat.settings import VARIABLE


def file_of(store: Store) -> Path:
    """The file that HASSE_CHAT_CACHE names, or else the store's own file."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else path_in(store.root)


def shown(store: Store) -> list[dict[str, Any]]:
    """One row for each status of a reply; no rows without a cache."""
    path = file_of(store)
    return [{"file": str(path), **row} for row in contents(path)]


def forget(store: Store) -> None:
    """Delete every reply, so that it is paid for again when it is needed. Raises WorkError while a run is asking."""
    delete(file_of(store))
