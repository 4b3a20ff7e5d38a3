"""Claims: among processes that share a cache of replies, only the one with the claim asks a question and pays for it.

A claim is a row with its owner's name. The owner holds a lock on a file of that name beside the cache. The operating
system releases the lock when the process ends, in whatever way; the claims of an owner without a lock are void.
"""

import sqlite3
import uuid
from pathlib import Path
from typing import TextIO

from hasse.data.errors import StoreError
from hasse.pipeline.files import hold_lock, is_held

TABLE = "create table if not exists claim (key text primary key, owner text not null)"


class Claims:
    """The claims of one owner. The methods that take a database are called within a transaction."""

    def __init__(self, cache: Path):
        self._cache = cache
        self._name = uuid.uuid4().hex
        self._lock: TextIO | None = None
        self._keys: set[str] = set()

    def holds(self, key: str) -> bool:
        return key in self._keys

    def take(self, db: sqlite3.Connection, key: str) -> bool:
        """Try to claim a question; whether this owner may ask it."""
        self._show_life()
        row = db.execute("select owner from claim where key = ?", (key,)).fetchone()
        if row is not None and row[0] != self._name:
            if is_held(self._file(row[0])):
                return False
            self._bury(db, row[0])
        db.execute("insert or replace into claim values (?, ?)", (key, self._name))
        self._keys.add(key)
        return True

    def give_up(self, db: sqlite3.Connection, key: str) -> None:
        self._keys.discard(key)
        db.execute("delete from claim where key = ? and owner = ?", (key, self._name))

    def give_up_all(self, db: sqlite3.Connection) -> None:
        self._keys.clear()
        if self._lock is not None:
            db.execute("delete from claim where owner = ?", (self._name,))

    def close(self) -> None:
        if self._lock is not None:
            self._file(self._name).unlink(missing_ok=True)
            self._lock.close()

    def _show_life(self) -> None:
        if self._lock is None:
            try:
                self._lock = hold_lock(self._file(self._name))
            except OSError as error:
                raise StoreError(
                    f"{self._cache}: no lock can be held beside the cache of replies ({error.strerror}); name a file "
                    "on a disk of this machine"
                ) from error

    def _bury(self, db: sqlite3.Connection, owner: str) -> None:
        """Delete the claims of an owner whose process has ended."""
        db.execute("delete from claim where owner = ?", (owner,))
        self._file(owner).unlink(missing_ok=True)

    def _file(self, owner: str) -> Path:
        return self._cache.with_name(f".{self._cache.name}-{owner}.asking")
