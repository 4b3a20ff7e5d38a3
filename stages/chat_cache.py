"""Replies that were paid for, and batches that will be, in one SQLite file, so that no question is paid for twice.

Several processes may share it. A key is the digest of the request and the endpoint, so the file holds no question, no
address and no key of an endpoint. Of several answers to a request the first stands under its key, the others under the
key, a dash and their number.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError, StoreError
from stages.chat_reply import Reply, Usage, Wanted

KEPT = {"ok", "truncated", "refused"}
VERSION = 2  # 1: without log-probs and batches

REPLIES = """create table if not exists reply (
    key text primary key, status text not null, text text not null, error text,
    input_tokens integer, output_tokens integer, created real not null, logprobs text
)"""
BATCHES = """create table if not exists batch (
    file_id text primary key, batch_id text, requests text not null, created real not null
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A file of requests at the provider, by their keys; without `batch_id` it may or may not have become a batch."""

    file_id: str
    batch_id: str | None = None
    requests: Mapping[str, Wanted]


class Cache:
    """Without a path it holds nothing. Raises InputError for a file that is something else."""

    def __init__(self, path: Path | None):
        self._path = path
        self._db = None if path is None else _open(path)

    @property
    def is_kept(self) -> bool:
        return self._db is not None

    def get(self, key: str, num: int = 1) -> tuple[Reply, ...] | None:
        """All `num` answers to a request, or None."""
        if self._db is None:
            return None
        statement = "select status, text, error, logprobs from reply where key = ?"
        rows = [self._execute(self._db, statement, name).fetchone() for name in _names(key, num)]
        return None if None in rows else tuple(_reply(*row) for row in rows)

    def put(self, key: str, replies: Sequence[Reply], usage: Usage | None) -> None:
        """Returns when they would survive a kill, all of them or none. Raises StoreError, for instance on a full disk.

        The tokens, which are those of all answers, stand beside the first.
        """
        if self._db is None or any(reply.status not in KEPT for reply in replies):
            return
        self._execute(self._db, "begin immediate")
        for name, reply in zip(_names(key, len(replies)), replies, strict=True):
            tokens = (usage.prompt_tokens, usage.completion_tokens) if usage and name == key else (None, None)
            logprobs = json.dumps(reply.logprobs) if reply.logprobs else None
            row = (name, reply.status, reply.text, reply.error, *tokens, time.time(), logprobs)
            self._execute(self._db, "insert or ignore into reply values (?, ?, ?, ?, ?, ?, ?, ?)", *row)
        self._execute(self._db, "commit")

    def note(self, batch: Submitted) -> None:
        """Returns when it would survive a kill; `forget` must follow once all its replies are kept."""
        requests = json.dumps([[key, wanted.num, wanted.logprobs] for key, wanted in batch.requests.items()])
        statement = "insert or replace into batch values (?, ?, ?, ?)"
        self._execute(self._opened, statement, batch.file_id, batch.batch_id, requests, time.time())

    def submitted(self) -> list[Submitted]:
        """The oldest first."""
        rows = self._execute(self._opened, "select file_id, batch_id, requests from batch order by created").fetchall()
        return [Submitted(file_id=row[0], batch_id=row[1], requests=_requests(row[2])) for row in rows]

    def forget(self, batch: Submitted) -> None:
        self._execute(self._opened, "delete from batch where file_id = ?", batch.file_id)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._db is not None, "the settings refuse batches without a cache"
        return self._db

    def _execute(self, db: sqlite3.Connection, statement: str, *values: str | float | None) -> sqlite3.Cursor:
        try:
            return db.execute(statement, values)
        except sqlite3.Error as error:
            problem = f"{self._path}: the cache of replies failed ({error}); make room on the disk or name another file"
            raise StoreError(problem) from error


def _names(key: str, num: int) -> list[str]:
    return [key, *(f"{key}-{i}" for i in range(1, num))]


def _reply(status: str, text: str, error: str | None, logprobs: str | None) -> Reply:
    return Reply(status=status, text=text, error=error, logprobs=tuple(json.loads(logprobs or "[]")))


def _requests(listed: str) -> dict[str, Wanted]:
    return {key: Wanted(num=num, logprobs=logprobs) for key, num, logprobs in json.loads(listed)}


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=60, isolation_level=None)  # every statement is a transaction
        version = db.execute("pragma user_version").fetchone()[0]
        others = db.execute(
            "select name from sqlite_master where type = 'table' and name not in ('reply', 'batch')"
        ).fetchall()
        if version not in range(VERSION + 1) or others:
            raise InputError(f"{path}: a database of something else, or of a later version; name another file as cache")
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")  # a kill loses nothing, a power cut perhaps the last replies
        _bring_up_to_date(db)
    except (sqlite3.Error, OSError) as error:
        raise InputError(f"{path}: cannot be used as a cache of replies ({error}); name another file") from error
    return db


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    db.execute("begin immediate")  # another process may be about to do the same
    version = db.execute("pragma user_version").fetchone()[0]
    db.execute(REPLIES)
    db.execute(BATCHES)
    if version == 1:
        db.execute("alter table reply add column logprobs text")
    db.execute(f"pragma user_version = {VERSION}")
    db.execute("commit")
