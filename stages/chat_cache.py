"""Replies that were paid for, in one SQLite file, so that no question is paid for twice.

Several processes may share it. A key is the digest of the request and the endpoint, so the file holds no question, no
address and no key of an endpoint.
"""

import os
import sqlite3
import time
from pathlib import Path

from data.errors import InputError, StoreError
from stages.chat_reply import Reply, Usage
from stages.chat_settings import ChatSettings

VARIABLE = "HASSE_CHAT_CACHE"
KEPT = {"ok", "truncated", "refused"}
VERSION = 1

TABLE = """create table if not exists reply (
    key text primary key, status text not null, text text not null, error text,
    input_tokens integer, output_tokens integer, created real not null
)"""


def cache_path(settings: ChatSettings) -> Path | None:
    """The settings' file, else the environment's; None for no cache."""
    named = os.environ.get(VARIABLE)
    return settings.cache or (Path(named) if named else None)


class Cache:
    """Without a path it holds nothing. Raises InputError for a file that is something else."""

    def __init__(self, path: Path | None):
        self._path = path
        self._db = None if path is None else _open(path)

    def get(self, key: str) -> Reply | None:
        if self._db is None:
            return None
        row = self._execute(self._db, "select status, text, error from reply where key = ?", key).fetchone()
        return None if row is None else Reply(status=row[0], text=row[1], error=row[2])

    def put(self, key: str, reply: Reply, usage: Usage | None) -> None:
        """Returns when the reply would survive a kill. Raises StoreError, for instance on a full disk."""
        if self._db is None or reply.status not in KEPT:
            return
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
        row = (key, reply.status, reply.text, reply.error, *tokens, time.time())
        self._execute(self._db, "insert or ignore into reply values (?, ?, ?, ?, ?, ?, ?)", *row)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _execute(self, db: sqlite3.Connection, statement: str, *values: str | float | None) -> sqlite3.Cursor:
        try:
            return db.execute(statement, values)
        except sqlite3.Error as error:
            problem = f"{self._path}: the cache of replies failed ({error}); make room on the disk or name another file"
            raise StoreError(problem) from error


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=60, isolation_level=None)  # every statement is a transaction
        version = db.execute("pragma user_version").fetchone()[0]
        others = db.execute("select name from sqlite_master where type = 'table' and name <> 'reply'").fetchall()
        if version not in (0, VERSION) or others:
            raise InputError(f"{path}: a database of something else, or of a later version; name another file as cache")
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")  # a kill loses nothing, a power cut perhaps the last replies
        db.execute(TABLE)
        db.execute(f"pragma user_version = {VERSION}")
    except (sqlite3.Error, OSError) as error:
        raise InputError(f"{path}: cannot be used as a cache of replies ({error}); name another file") from error
    return db
