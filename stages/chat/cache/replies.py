"""The cache of replies: one SQLite file with the replies that were paid for and the batches under way.

Several processes may share the file. A request's key is the digest of the request and the endpoint, so the file holds
no question, no address and no API key. The first answer to a request is kept under the request's key, further answers
under the key, a dash and their number.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hasse.data.errors import StoreError
from hasse.pipeline.disk import disk_message
from hasse.stages.chat.cache.claims import Claims
from hasse.stages.chat.cache.file import CONTENT, digest, failed_disk, open_file
from hasse.stages.chat.http.usage import Usage
from hasse.stages.chat.reply import Replies, Reply, Wanted

KEPT = {"ok", "truncated", "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A file of requests at the provider. Without `batch_id` it may or may not have become a batch.

    requests: what each request wants, by key.
    """

    file_id: str
    batch_id: str | None = None
    requests: Mapping[str, Wanted]


class Cache:
    """A cache of replies; without a path it keeps nothing.

    not_before: replies that were kept before this time, in seconds since 1970, are ignored. Raises InputError for a
    file that is no cache of replies, and StoreError on a full disk.
    """

    def __init__(self, path: Path | None, *, not_before: float = 0.0):
        self._path, self._not_before = path, not_before
        self._db = None if path is None else open_file(path)
        self._claims = None if path is None else Claims(path)

    @property
    def is_kept(self) -> bool:
        return self._db is not None

    def get(self, key: str, num: int = 1) -> Replies:
        """The first `num` answers to a request, or as many of them as are kept."""
        found: list[Reply] = []
        if self._db is None:
            return ()
        statement = f"select digest, {CONTENT} from reply where key = ? and created >= ?"
        for name in _names(key, range(num)):
            row = self._execute(self._db, statement, name, self._not_before).fetchone()
            if row is None or row[0] not in (None, digest(*row[1:])):  # a damaged reply is asked for again
                break
            found.append(_reply(*row[2:]))
        return tuple(found)

    def put(self, key: str, replies: Sequence[Reply], usage: Usage | None, *, first: int = 0) -> None:
        """Keep replies, all or none; they survive a kill from the return on. Raises StoreError, as on a full disk.

        first: the number of the first of these replies among the answers to the request. Its row gets the tokens.
        """
        if self._db is None:
            return
        tokens = (usage.prompt_tokens, usage.output_tokens) if usage else (None, None)
        with self._transaction(self._db) as db:
            for i, (name, reply) in enumerate(
                zip(_names(key, range(first, first + len(replies))), replies, strict=True)
            ):
                if reply.status in KEPT:
                    self._keep(db, name, reply, tokens if i == 0 else (None, None))

    def claim(self, key: str) -> bool:
        """Try to claim a question; whether this process may ask it. If not, another process is asking it now.

        `release` must follow. The claims of a process that was killed are void.
        """
        if self._db is None or self._claims is None:
            return True
        if self._claims.holds(key):
            return True
        with self._transaction(self._db) as db:
            return self._claims.take(db, key)

    def release(self, key: str) -> None:
        """Let other processes ask the question. Does nothing after `close`, which releases all claims."""
        if self._db is not None and self._claims is not None and self._claims.holds(key):
            with self._transaction(self._db) as db:
                self._claims.give_up(db, key)

    def note(self, batch: Submitted) -> None:
        """Keep a submitted batch, which then survives a kill. `forget` must follow when its replies are kept."""
        requests = json.dumps([[key, w.num, w.logprobs, w.first, w.max_tokens] for key, w in batch.requests.items()])
        statement = "insert or replace into batch values (?, ?, ?, ?)"
        self._execute(self._opened, statement, batch.file_id, batch.batch_id, requests, time.time())

    def submitted(self) -> list[Submitted]:
        """The submitted batches, the oldest first."""
        rows = self._execute(self._opened, "select file_id, batch_id, requests from batch order by created").fetchall()
        return [Submitted(file_id=row[0], batch_id=row[1], requests=_requests(row[2])) for row in rows]

    def forget(self, batch: Submitted) -> None:
        self._execute(self._opened, "delete from batch where file_id = ?", batch.file_id)

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None and self._claims is not None:
            with contextlib.suppress(StoreError), self._transaction(db):
                self._claims.give_up_all(db)
            self._claims.close()
            db.close()

    def _keep(
        self, db: sqlite3.Connection, name: str, reply: Reply, tokens: tuple[int, int] | tuple[None, None]
    ) -> None:
        logprobs = json.dumps(reply.logprobs) if reply.logprobs else None
        reasoning = reply.reasoning or None
        seal = digest(name, reply.status, reply.text, reply.error, logprobs, reasoning)
        row = (name, reply.status, reply.text, reply.error, *tokens, time.time(), logprobs, reasoning, seal)
        self._execute(db, "insert or replace into reply values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)

    @contextlib.contextmanager
    def _transaction(self, db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        self._execute(db, "begin immediate")
        try:
            yield db
        except sqlite3.Error as error:
            raise self._failure(error) from error
        self._execute(db, "commit")

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._db is not None, "a call by batches has a cache"
        return self._db

    def _execute(self, db: sqlite3.Connection, statement: str, *values: str | float | None) -> sqlite3.Cursor:
        try:
            return db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> StoreError:
        if problem := failed_disk(error):
            return StoreError(disk_message(f"the cache of replies {self._path}", problem))
        return StoreError(
            f"{self._path}: the cache of replies failed ({error}); make room on the disk or name another file"
        )


def _names(key: str, numbers: range) -> list[str]:
    return [f"{key}-{i}" if i else key for i in numbers]


def _reply(status: str, text: str, error: str | None, logprobs: str | None, reasoning: str | None) -> Reply:
    found = tuple(json.loads(logprobs or "[]"))
    return Reply(status=status, text=text, error=error, logprobs=found, reasoning=reasoning or "")


def _requests(listed: str) -> dict[str, Wanted]:
    names = ("num", "logprobs", "first", "max_tokens")
    return {key: Wanted(**dict(zip(names, values, strict=False))) for key, *values in json.loads(listed)}
