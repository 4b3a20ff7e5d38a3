"""The SQLite file of replies: its path, opening and migrating it, listing its contents, and deleting it."""

import errno
import hashlib
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from hasse.data.errors import InputError, StoreError, WorkError
from hasse.pipeline.disk import disk_message, disk_problem
from hasse.pipeline.files import is_held
from hasse.stages.chat.cache import claims as chat_claims

VERSION = 4  # 1: without log-probs and batches; 2: without reasoning and claims; 3: without digests

REPLIES = """create table if not exists reply (
    key text primary key, status text not null, text text not null, error text,
    input_tokens integer, output_tokens integer, created real not null, logprobs text, reasoning text,
    digest text
)"""
BATCHES = """create table if not exists batch (
    file_id text primary key, batch_id text, requests text not null, created real not null
)"""
CONTENT = "key, status, text, error, logprobs, reasoning"
"""The columns that the digest covers."""
TABLES = ("reply", "batch", "claim")
WAIT_SECONDS = 60.0
"""How long to wait for another process that holds the file."""


def path_in(root: Path) -> Path:
    """The path of a store's cache of replies, below the store's folder on this machine."""
    return root / "replies" / "replies.sqlite"


def open_file(path: Path) -> sqlite3.Connection:
    """Open the cache, or create it.

    Raises InputError for a file that is no cache of replies, and StoreError where the disk is full or fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)  # every statement is a transaction
        db.text_factory = _text
        _check(db, path)
        _write_ahead(db)
        db.execute("pragma synchronous = normal")  # a kill loses nothing, a power cut perhaps the last replies
        _bring_up_to_date(db)
    except (sqlite3.Error, OSError) as error:
        if problem := failed_disk(error):
            raise StoreError(disk_message(f"the cache of replies {path}", problem)) from error
        raise InputError(f"{path}: cannot be used as a cache of replies ({error}); name another file") from error
    return db


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. SQLite does not wait for other processes that do the same, so this waits."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            db.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)


def failed_disk(error: sqlite3.Error | OSError) -> str | None:
    """The problem of a full or failing disk; None where the file itself is unusable or may not be written."""
    refused = isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return None if refused else disk_problem(error)


def contents(path: Path) -> list[dict[str, Any]]:
    """Give, for each status, the number of replies, their tokens, and when the first and the last were kept."""
    if not path.exists():
        return []
    with closing(open_file(path)) as db:
        rows = db.execute(
            "select status, count(*), total(input_tokens), total(output_tokens), "
            "datetime(min(created), 'unixepoch'), datetime(max(created), 'unixepoch') "
            "from reply group by status order by status"
        ).fetchall()
    names = ("status", "replies", "tokens in", "tokens out", "first, UTC", "last, UTC")
    named = [dict(zip(names, row, strict=True)) for row in rows]
    return [{**row, "tokens in": int(row["tokens in"]), "tokens out": int(row["tokens out"])} for row in named]


def digest(*values: str | None) -> str:
    """The digest of a reply with its key, by which a damaged reply is known."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def num_damaged(path: Path) -> int:
    """The number of replies that differ from their digest. Raises InputError for a file that is no cache of replies."""
    if not path.exists():
        return 0
    with closing(open_file(path)) as db:
        try:
            rows = db.execute(f"select digest, {CONTENT} from reply where digest is not null")
            return sum(kept != digest(*values) for kept, *values in rows)
        except sqlite3.Error as error:
            raise InputError(f"{path}: cannot be used as a cache of replies ({error}); name another file") from error


def delete(path: Path) -> None:
    """Delete the cache and the files beside it. Raises WorkError while a process is asking or a batch is under way."""
    if path.exists():
        with closing(open_file(path)) as db:
            if num := db.execute("select count(*) from batch").fetchone()[0]:
                raise WorkError(
                    f"{path}: {num} batches are under way, which only this file remembers; finish the run that waits "
                    "for them, or delete their rows from its table `batch`"
                )
    asking = list(path.parent.glob(f".{path.name}-*.asking"))
    if any(map(is_held, asking)):
        raise WorkError(f"{path}: a run is asking questions and keeps its replies there; try again when it has ended")
    for found in (path, *path.parent.glob(f"{path.name}-*"), *asking):
        found.unlink(missing_ok=True)


def _text(stored: bytes) -> str:
    """A text of the database. Damage may have made it no UTF-8, and then its digest does not fit."""
    return stored.decode(errors="replace")


def _check(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("pragma user_version").fetchone()[0]
    tables = {row[0] for row in db.execute("select name from sqlite_master where type = 'table'")}
    if version not in range(VERSION + 1) or tables - set(TABLES):
        raise InputError(f"{path}: a database of something else, or of a later version; name another file as cache")


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    db.execute("begin immediate")  # another process may be about to do the same
    version = db.execute("pragma user_version").fetchone()[0]
    for table in (REPLIES, BATCHES, chat_claims.TABLE):
        db.execute(table)
    if version == 1:
        db.execute("alter table reply add column logprobs text")
    if version in (1, 2):
        db.execute("alter table reply add column reasoning text")
    if version in (1, 2, 3):
        db.execute("alter table reply add column digest text")
    db.execute(f"pragma user_version = {VERSION}")
    db.execute("commit")
