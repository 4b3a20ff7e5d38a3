"""The cache of replies that were paid for, as the commands show it and delete it by name."""

import os
from pathlib import Path
from typing import Any

from hasse.pipeline.store import Store
from hasse.stages.chat.cache.file import contents, delete, path_in
from hasse.stages.chat.settings import VARIABLE


def file_of(store: Store) -> Path:
    """The file that HASSE_CHAT_CACHE names, else the store's own."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else path_in(store.root)


def shown(store: Store) -> list[dict[str, Any]]:
    """A row for each status of a reply; none where nothing was paid for."""
    path = file_of(store)
    return [{"file": str(path), **row} for row in contents(path)]


def forget(store: Store) -> None:
    """Every reply will be asked for, and paid for, again. Raises WorkError while a run is asking."""
    delete(file_of(store))
