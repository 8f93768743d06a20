"""The database file: opening, migrating, transactions.

The schema's version is SQLite's `user_version`. A file newer than this program is refused; an older one is copied to
`<file>.v<version>.backup` and migrated, each migration in one transaction, so a crash leaves a version, never half
of one. Two processes that migrate at once do it once.
"""

import contextlib
import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Final, LiteralString, final

import msgspec

from ostiary.core.error import CallerError, Code, OperatorError
from ostiary.core.limit import STORE_LOG_BYTES_KEPT_MAX
from ostiary.core.row import Row, Value
from ostiary.govern.change import Change
from ostiary.govern.migration import Migration, Plan

BUSY_SECONDS: Final = 5.0
_MIGRATION: Final = re.compile(r"(\d{4})_(pre|post)_([a-z0-9_]+)\.sql")


_BUMP: Final = "UPDATE revision SET value = value + 1"
_REVISION: Final = "SELECT value FROM revision"
_CHANGE: Final = (
    "INSERT INTO outbox (id, at_ns, actor, action, tenant_id, object_id, detail) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class Step(msgspec.Struct, frozen=True):
    """One step of the schema."""

    version: int
    title: str
    sql: str


def migrations() -> list[Step]:
    """Every migration this program ships, in order."""
    found: list[Step] = []
    for entry in resources.files("ostiary.store.sqlite.migrations").iterdir():
        match = _MIGRATION.fullmatch(entry.name)
        if match is not None:
            found.append(Step(int(match[1]), match[3], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    assert [migration.version for migration in found] == list(range(1, len(found) + 1)), "migrations have gaps"
    return found


def plan(path: Path) -> Plan:
    """What opening the file would do to its schema. Changes nothing.

    Raises OperatorError store.unavailable where it cannot be used or is newer than this program.
    """
    known = migrations()
    version = 0
    if path.exists():
        with _told(path), contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            version = _version(connection)
    _refuse_newer(path, version, known[-1].version)
    due = [Migration(step.version, step.title.replace("_", " ")) for step in known if step.version > version]
    return Plan(str(path), version, tuple(due))


class Tx:
    """An open transaction: runs statements. Every statement is a constant of the program, every value a parameter."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: LiteralString, values: Sequence[Value] = ()) -> int:
        """Execute; the number of rows changed."""
        return self._connection.execute(sql, values).rowcount

    def run_many(self, sql: LiteralString, rows: Sequence[Sequence[Value]]) -> None:
        """Execute once per row of values."""
        if rows:
            self._connection.executemany(sql, rows)

    def rows(self, sql: LiteralString, values: Sequence[Value] = ()) -> list[Row]:
        """Every row."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: LiteralString, values: Sequence[Value] = ()) -> Row | None:
        """The first row, or None."""
        found: Row | None = self._connection.execute(sql, values).fetchone()
        return found

    def changed(self, change: Change) -> int:
        """Record the change of this transaction, and let the publisher see that there was one; gives its number."""
        made = self._connection.execute(
            _CHANGE,
            (
                change.id,
                change.at_ns,
                change.actor,
                change.action,
                change.tenant,
                change.object_id,
                msgspec.json.encode(change.detail).decode(),
            ),
        )
        self._connection.execute(_BUMP)
        return int(made.lastrowid or 0)


@final
class Database:
    """An open database. Any thread may use it; transactions take turns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._file = _identity(path)

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open or create the file (0600), check its schema, migrate it.

        Raises OperatorError store.unavailable where it cannot be used or is newer than this program.
        """
        with _told(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                # Only a new file: to close a descriptor of one that this process has open as a database drops SQLite's
                # locks on it, and whoever closes it last elsewhere would take the log away from under us.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                _configure(connection)
                _migrate(path, connection, migrations())
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[Tx]:
        """A write transaction: committed durably at the end, rolled back where the block raises.

        Raises OperatorError store.unavailable where the file cannot be written or stays locked by another process.
        """
        with self._lock, _told(self.path):
            self._check_there()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield Tx(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                # A failed COMMIT may or may not have ended the transaction.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[Tx]:
        """A consistent view."""
        with self._lock, _told(self.path):
            self._check_there()
            self._connection.execute("BEGIN")
            try:
                yield Tx(self._connection)
            finally:
                self._connection.execute("ROLLBACK")

    def revision(self) -> int:
        """A number that went up if anything the publisher reads was changed, by any process. Microseconds."""
        with self._lock, _told(self.path):
            self._check_there()
            (value,) = self._connection.execute(_REVISION).fetchone()
            return int(value)

    def close(self) -> None:
        """Close the file; the database is then useless."""
        with self._lock:
            self._connection.close()

    def _check_there(self) -> None:
        """What is written to a file that was deleted or replaced is gone with the process: nothing is, then."""
        if _identity(self.path) != self._file:
            raise OperatorError(
                Code.STORE_UNAVAILABLE,
                f"The database {self.path} was deleted, moved or replaced while it is in use. Put it back, or stop Ostiary "
                "and restore a backup.",
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at the path; None where none does."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's failures as ours."""
    try:
        yield
    except (OverflowError, UnicodeEncodeError) as error:
        raise CallerError(
            Code.OBJECT_INVALID, "The database cannot hold whole numbers beyond 63 bits or unpaired surrogates."
        ) from error
    except (sqlite3.Error, OSError) as error:
        raise OperatorError(
            Code.STORE_UNAVAILABLE, f"The database {path} cannot be used: {str(error).rstrip('.')}."
        ) from error


@contextlib.contextmanager
def unique(message: str) -> Iterator[None]:
    """A violated uniqueness inside the block becomes CallerError object.exists."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorname not in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
            raise
        raise CallerError(Code.OBJECT_EXISTS, message) from error


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # What a long reader made the log grow to is given back once it is gone.
    connection.execute(f"PRAGMA journal_size_limit = {STORE_LOG_BYTES_KEPT_MAX:d}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(path: Path, connection: sqlite3.Connection, known: Sequence[Step]) -> None:
    newest = known[-1].version
    version = _version(connection)
    _refuse_newer(path, version, newest)
    if 0 < version < newest:
        _backup(path, connection, version)
    for migration in known:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) < migration.version:
                for statement in _statements(migration.sql):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {migration.version:d}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _refuse_newer(path: Path, version: int, newest: int) -> None:
    if version > newest:
        raise OperatorError(
            Code.STORE_UNAVAILABLE,
            f"{path} has schema {version}, this version of Ostiary knows {newest}: install the newer version again, "
            f"or put back the backup made before it.",
        )


def _backup(path: Path, connection: sqlite3.Connection, version: int) -> None:
    target = path.with_name(f"{path.name}.v{version}.backup")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    copy = sqlite3.connect(part)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    part.replace(target)


def _statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one: executescript would commit between them."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip() or statement.lstrip().startswith("--"), "a migration ends in half a statement"
