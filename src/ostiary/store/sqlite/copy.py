"""Copying a database file while others use it, by SQLite's own means."""

import contextlib
import os
import sqlite3
from pathlib import Path

from ostiary.core.error import Code, OperatorError
from ostiary.store.sqlite.database import BUSY_SECONDS


def copy(source: Path, target: Path) -> int:
    """A consistent copy of the database as it is at this moment, in one file (0600) that must not be there; the version
    of its schema. Writers go on meanwhile. Raises OperatorError store.unavailable."""
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as given,
            contextlib.closing(sqlite3.connect(target)) as made,
        ):
            given.backup(made)
            # One file is all there is to it: no log beside it that could be forgotten.
            made.execute("PRAGMA journal_mode = DELETE")
            (problem,) = made.execute("PRAGMA integrity_check(1)").fetchone()
            (version,) = made.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise OperatorError(Code.STORE_UNAVAILABLE, f"The database {source} cannot be copied: {error}.") from error
    if problem != "ok":
        raise OperatorError(Code.STORE_UNAVAILABLE, f"The database {source} is damaged: {problem}.")
    return int(version)
