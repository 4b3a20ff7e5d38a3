"""Opening the cache of replies while another process holds the file."""

import sqlite3
import threading
from contextlib import closing

import pytest

from hasse.stages.chat.cache.file import open_file


@pytest.mark.parametrize("lock", ["immediate", "exclusive"])
def test_opening_waits_for_who_holds_a_new_file(tmp_path, lock):
    path = tmp_path / "replies.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute(f"begin {lock}")
        threading.Timer(0.4, lambda: other.execute("rollback")).start()
        with closing(open_file(path)) as db:
            assert db.execute("pragma journal_mode").fetchone() == ("wal",)
