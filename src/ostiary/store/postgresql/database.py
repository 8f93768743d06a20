"""The database: connections, transactions, and what is told of failures.

A connection that fails is thrown away and never asked again whether what it was doing was done. Where the answer to a
COMMIT is lost, nobody knows: `write` says so, and whoever must know looks (the projector compares its place).

While no connection can be made, further attempts within a growing pause fail at once with the same reason: a loop that
tries again and again neither hammers the server nor waits for each attempt.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, LiteralString, final

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import NumericValueOutOfRange, UniqueViolation

from ostiary.core.error import CallerError, Code, OperatorError
from ostiary.core.limit import (
    STORE_CONNECT_SECONDS,
    STORE_CONNECTIONS_MAX,
    STORE_LOCK_SECONDS,
    STORE_RETRY_SECONDS,
    STORE_RETRY_SECONDS_MAX,
    STORE_STATEMENT_SECONDS,
    STORE_TRANSACTION_SECONDS_MAX,
    STORE_WAIT_SECONDS_MAX,
)
from ostiary.core.port import Clock
from ostiary.core.row import Row, Value
from ostiary.govern.change import Change

Values = Sequence[Value] | Mapping[str, Value]
Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

_DEFAULTS: Final[dict[str, str | int]] = {
    "application_name": "ostiary",
    "connect_timeout": int(STORE_CONNECT_SECONDS),
    "target_session_attrs": "read-write",
    # A server that vanishes without a word is noticed within half a minute, also while an answer is waited for.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""What holds where the URL says nothing else. Of several hosts the one that takes writes is looked for."""
_BOUNDS: Final = (
    f"; SET LOCAL statement_timeout = {STORE_STATEMENT_SECONDS * 1_000:.0f}"
    f"; SET LOCAL lock_timeout = {STORE_LOCK_SECONDS * 1_000:.0f}"
    f"; SET LOCAL idle_in_transaction_session_timeout = {STORE_STATEMENT_SECONDS * 1_000:.0f}"
)
# Durable on return, whatever the server's default is.
_BEGIN_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = on" + _BOUNDS
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" + _BOUNDS
_UNBOUNDED: Final = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
_COPY_BYTES: Final = 1024 * 1024
_ERROR_CHARS_MAX: Final = 500

_REVISION: Final = "SELECT value FROM revision"
_BUMP: Final = "UPDATE revision SET value = value + 1 RETURNING value"
_CHANGE: Final = (
    "INSERT INTO outbox (number, id, at_ns, actor, action, tenant_id, object_id, detail) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)


class Tx:
    """An open transaction: runs statements. Every statement is a constant of the program, every value a parameter.

    Raises CallerError object.invalid for text that PostgreSQL cannot hold: NUL characters, halves of surrogate pairs.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: LiteralString, values: Values = ()) -> int:
        """Execute; the number of rows changed."""
        return self._connection.execute(sql, _checked(values)).rowcount

    def run_many(self, sql: LiteralString, rows: Sequence[Sequence[Value]]) -> None:
        """Execute once per row of values."""
        if rows:
            with self._connection.cursor() as cursor:
                cursor.executemany(sql, [_checked(row) for row in rows])

    def copy(self, sql: LiteralString, rows: Sequence[Sequence[Value]]) -> None:
        """Store many rows by a COPY ... FROM STDIN."""
        if rows:
            with self._connection.cursor() as cursor, cursor.copy(sql) as copy:
                for row in rows:
                    _check(row)
                    copy.write_row(row)

    def copy_out(self, sql: str, target: Path) -> None:
        """What a COPY ... TO STDOUT gives, into a file (0600) that must not be there. Raises OSError."""
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as file,
            self._connection.cursor() as cursor,
            cursor.copy(sql.encode()) as copy,
        ):
            for block in copy:
                file.write(block)

    def copy_in(self, sql: str, source: Path) -> None:
        """A file's bytes into a COPY ... FROM STDIN. Raises OSError."""
        with source.open("rb") as file, self._connection.cursor() as cursor, cursor.copy(sql.encode()) as copy:
            while block := file.read(_COPY_BYTES):
                copy.write(block)

    def rows(self, sql: LiteralString, values: Values = ()) -> list[Row]:
        """Every row."""
        return self._connection.execute(sql, _checked(values)).fetchall()

    def row(self, sql: LiteralString, values: Values = ()) -> Row | None:
        """The first row, or None."""
        return self._connection.execute(sql, _checked(values)).fetchone()

    def script(self, sql: str) -> None:
        """Several statements without values: a migration."""
        self._connection.execute(sql.encode())

    def changed(self, change: Change) -> int:
        """Record the change of this transaction, and let the publisher see that there was one; gives its number. The last
        statement of a transaction but for what needs that number: from here to its end, other changes wait."""
        row = self.row(_BUMP)
        assert row is not None
        self.run(
            _CHANGE,
            (
                row[0],
                change.id,
                change.at_ns,
                change.actor,
                change.action,
                change.tenant,
                change.object_id,
                msgspec.json.encode(change.detail).decode(),
            ),
        )
        return int(row[0] or 0)


@final
class Database:
    """A database at a URL. Any thread may use it; each transaction has a connection of its own, of a bounded number."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Connects to nothing yet. Raises OperatorError config.invalid for what is no URL, without repeating it."""
        try:
            given = {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
        except psycopg.Error:
            raise OperatorError(
                Code.CONFIG_INVALID,
                "storage.url is no PostgreSQL URL: postgresql://user:password@host:port/database, with special "
                "characters of a password percent-encoded.",
            ) from None
        self._conninfo = make_conninfo("", **{**_DEFAULTS, **given, "client_encoding": "UTF8"})
        self.name = _name(given)
        self._clock = clock
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(STORE_CONNECTIONS_MAX)
        self._closed = False
        self._failure = ""
        self._pause = 0.0
        self._retry_at = 0.0

    @contextlib.contextmanager
    def write(self, *, bounded: bool = True) -> Iterator[Tx]:
        """A write transaction: committed durably at the end, rolled back where the block raises. Only a change of the
        schema, and a restore, may take as long as they take.

        Raises OperatorError store.unavailable where the database cannot be used, does not answer in time or holds a
        lock too long. Where it is lost while it commits, the message says that the outcome is unknown.
        """
        with self._told(), self._begun(_BEGIN_WRITE, bounded=bounded) as cursor:
            connection = cursor.connection
            yield Tx(connection)
            try:
                connection.execute("COMMIT")
            except psycopg.OperationalError as error:
                if not connection.closed:
                    raise
                raise OperatorError(
                    Code.STORE_UNAVAILABLE,
                    f"The database {self.name} was lost while a change was being stored. Look whether it was before "
                    f"you try again. ({_text(error)})",
                ) from error

    @contextlib.contextmanager
    def read(self, *, bounded: bool = True) -> Iterator[Tx]:
        """A consistent view. Only a backup may take as long as it takes."""
        with self._told(), self._begun(_BEGIN_READ, bounded=bounded) as cursor:
            if not bounded:
                cursor.connection.execute(_UNBOUNDED)
            yield Tx(cursor.connection)
            cursor.connection.execute("ROLLBACK")

    def revision(self) -> int:
        """A number that went up if anything the publisher reads was changed, by any process. One round trip."""
        with self._told(), self._begun(_REVISION) as cursor:
            row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Close every connection; the database is then useless."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def _begun(self, begin: LiteralString, *, bounded: bool = True) -> Iterator[Cursor]:
        """What a connection of one's own gives to a first statement. The connection is kept for the next one where no
        transaction is left open on it."""
        if not self._free.acquire(timeout=STORE_WAIT_SECONDS_MAX):
            raise OperatorError(
                Code.STORE_UNAVAILABLE, f"All connections to the database {self.name} have been busy for too long."
            )
        try:
            cursor, watch = self._begin(begin)
            if not bounded:
                watch.cancel()
            try:
                yield cursor
            except BaseException:
                _roll_back(cursor.connection)
                raise
            finally:
                watch.cancel()
                self._give_back(cursor.connection)
        finally:
            self._free.release()

    def _begin(self, begin: LiteralString) -> tuple[Cursor, threading.Timer]:
        """One that was kept may have died since; that is seen here, before anything was done on it.

        Bounds on statements are the server's to keep. For one that does not answer at all, a timer breaks the connection
        off."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            connection = self._connect() if kept is None else kept
            watch = threading.Timer(STORE_TRANSACTION_SECONDS_MAX, _break_off, (connection,))
            watch.daemon = True
            watch.start()
            try:
                cursor = connection.execute(begin)
            except psycopg.OperationalError:
                watch.cancel()
                connection.close()
                if kept is None:
                    raise
            else:
                return cursor, watch

    def _connect(self) -> Connection:
        with self._lock:
            if self._closed:
                raise OperatorError(Code.STORE_UNAVAILABLE, f"The database {self.name} was closed.")
            if self._clock.monotonic() < self._retry_at:
                raise OperatorError(Code.STORE_UNAVAILABLE, self._failure)
        try:
            connection: Connection = psycopg.Connection.connect(
                # Prepared statements belong to a session, which a pooler may give to another client.
                self._conninfo,
                autocommit=True,
                prepare_threshold=None,
            )
        except psycopg.Error as error:
            with self._lock:
                self._failure = self._cannot(error)
                self._pause = min(max(self._pause * 2, STORE_RETRY_SECONDS), STORE_RETRY_SECONDS_MAX)
                self._retry_at = self._clock.monotonic() + self._pause
            raise
        with self._lock:
            self._pause = self._retry_at = 0.0
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()
            raise OperatorError(
                Code.STORE_UNAVAILABLE, f"The database {self.name} is encoded in {encoding}; it must be UTF8."
            )
        return connection

    def _give_back(self, connection: Connection) -> None:
        idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if idle and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _cannot(self, error: BaseException) -> str:
        return f"The database {self.name} cannot be used: {_text(error)}."

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """PostgreSQL's failures as ours."""
        try:
            yield
        except NumericValueOutOfRange as error:
            raise CallerError(Code.OBJECT_INVALID, "The database cannot hold whole numbers beyond 63 bits.") from error
        except psycopg.Error as error:
            raise OperatorError(Code.STORE_UNAVAILABLE, self._cannot(error)) from error


@contextlib.contextmanager
def unique(message: str) -> Iterator[None]:
    """A violated uniqueness inside the block becomes CallerError object.exists."""
    try:
        yield
    except UniqueViolation as error:
        raise CallerError(Code.OBJECT_EXISTS, message) from error


def legible(text: str) -> str:
    """Text of the journal's, which a caller chose, as PostgreSQL can hold it: NUL becomes its symbol, U+2400."""
    return text.replace("\0", "\u2400")


def _checked(values: Values) -> Values:
    _check(values.values() if isinstance(values, Mapping) else values)
    return values


def _check(values: Iterable[Value]) -> None:
    for value in values:
        if isinstance(value, str) and not _holds(value):
            raise CallerError(Code.OBJECT_INVALID, "The database cannot hold text with NUL or unpaired surrogates.")


def _holds(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _break_off(connection: Connection) -> None:
    """Whoever waits for an answer on it is told that it was lost."""
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as one,
    ):
        one.shutdown(socket.SHUT_RDWR)


def _roll_back(connection: Connection) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.execute("ROLLBACK")


def _name(given: Mapping[str, object]) -> str:
    """What the database is called in messages: never its user or password."""
    return f"{given.get('host', 'on this machine')}:{given.get('port', 5432)}/{given.get('dbname', '')}"


def _text(error: BaseException) -> str:
    """What the server or the driver says, without the details, which may hold values."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = primary if primary is not None else str(error)
    return " ".join(text.split()).rstrip(".")[:_ERROR_CHARS_MAX]
