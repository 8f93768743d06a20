import contextlib
import sqlite3
import subprocess
import sys
import threading

import pytest

from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import STORE_LOG_BYTES_KEPT_MAX
from ostiary.store.sqlite import database
from ostiary.store.sqlite.database import Database, Step, migrations


def schema(path):
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return version, rows


def test_a_new_file_has_the_whole_schema_and_tight_modes(tmp_path):
    path = tmp_path / "data" / "x.db"
    opened = Database.open(path)
    with opened.write() as tx:
        tx.run("INSERT INTO tenants (id, created_ns) VALUES ('a', 1)")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {0o600}
    opened.close()
    version, rows = schema(path)
    assert version == migrations()[-1].version
    tables = [sql for name, sql in rows if sql and sql.startswith("CREATE TABLE") and not name.startswith("sqlite_")]
    assert len(tables) >= 10
    assert all("STRICT" in sql for sql in tables)


def test_the_connection_is_as_durable_as_promised(tmp_path):
    opened = Database.open(tmp_path / "x.db")
    with opened.read() as tx:
        assert tx.row("PRAGMA journal_mode") == ("wal",)
        assert tx.row("PRAGMA synchronous") == (2,)
        assert tx.row("PRAGMA foreign_keys") == (1,)
        assert tx.row("PRAGMA busy_timeout") == (5_000,)
    opened.close()


def test_a_block_that_raises_leaves_nothing(tmp_path):
    opened = Database.open(tmp_path / "x.db")
    with pytest.raises(KeyError), opened.write() as tx:
        tx.run("INSERT INTO tenants (id, created_ns) VALUES ('a', 1)")
        raise KeyError
    with opened.read() as tx:
        assert tx.rows("SELECT id FROM tenants") == []
    opened.close()


def test_types_and_references_are_enforced(tmp_path):
    opened = Database.open(tmp_path / "x.db")
    for statement in (
        "INSERT INTO tenants (id, created_ns) VALUES ('a', 'text')",
        "INSERT INTO key_secrets (digest, tenant_id, key_id, hint, created_ns) VALUES (x'00', 'a', 'b', 'c', 1)",
        "INSERT INTO key_secrets (digest, tenant_id, key_id, hint, created_ns) VALUES (zeroblob(32), 'a', 'b', 'c', 1)",
    ):
        with pytest.raises(OperatorError) as caught, opened.write() as tx:
            tx.run(statement)
        assert caught.value.code is Code.STORE_UNAVAILABLE
    opened.close()


def test_a_newer_schema_is_refused_untouched(tmp_path):
    path = tmp_path / "x.db"
    Database.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(OperatorError) as caught:
        Database.open(path)
    assert "999" in caught.value.message
    assert path.read_bytes() == before


def test_an_older_schema_is_backed_up_and_migrated(tmp_path, monkeypatch):
    path = tmp_path / "x.db"
    opened = Database.open(path)
    with opened.write() as tx:
        tx.run("INSERT INTO tenants (id, created_ns) VALUES ('a', 1)")
    opened.close()
    known = migrations()
    newer = Step(known[-1].version + 1, "more", "-- why\nCREATE TABLE more (x TEXT) STRICT;\nDROP TABLE refusals;\n")
    monkeypatch.setattr(database, "migrations", lambda: [*known, newer])
    opened = Database.open(path)
    with opened.read() as tx:
        assert tx.rows("SELECT id FROM tenants") == [("a",)]
        assert tx.rows("SELECT * FROM more") == []
    opened.close()
    backup = tmp_path / f"x.db.v{known[-1].version}.backup"
    assert backup.stat().st_mode & 0o777 == 0o600
    monkeypatch.undo()
    copy = Database.open(backup)
    with copy.read() as tx:
        assert tx.rows("SELECT id FROM tenants") == [("a",)]
    copy.close()


def test_a_migration_that_fails_half_way_leaves_the_version_before(tmp_path, monkeypatch):
    path = tmp_path / "x.db"
    Database.open(path).close()
    before = schema(path)
    known = migrations()
    broken = Step(known[-1].version + 1, "more", "CREATE TABLE more (x TEXT) STRICT;\nDROP TABLE nothing;\n")
    monkeypatch.setattr(database, "migrations", lambda: [*known, broken])
    with pytest.raises(OperatorError):
        Database.open(path)
    assert schema(path) == before
    monkeypatch.undo()
    Database.open(path).close()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(OperatorError) as caught:
        Database.open(path)
    assert caught.value.code is Code.STORE_UNAVAILABLE


def test_another_process_holding_the_file_is_waited_for_then_told(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    path = tmp_path / "x.db"
    opened = Database.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperatorError) as caught, opened.write():
        raise AssertionError("the lock was not needed")
    assert "locked" in caught.value.message
    assert opened.revision() == 0
    other.execute("ROLLBACK")
    other.close()
    with opened.write() as tx:
        tx.run("INSERT INTO tenants (id, created_ns) VALUES ('a', 1)")
    opened.close()


def test_threads_take_turns(tmp_path):
    opened = Database.open(tmp_path / "x.db")

    def work(name):
        for number in range(20):
            with opened.write() as tx:
                tx.run("INSERT INTO tenants (id, created_ns) VALUES (?, 1)", (f"{name}-{number}",))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened.read() as tx:
        assert tx.row("SELECT count(*) FROM tenants") == (80,)
    opened.close()


def test_a_second_connection_of_one_process_does_not_cost_the_first_its_log(tmp_path):
    """SQLite's locks are those of a process: a descriptor of the file that it closes takes all of them away, and then
    whoever closes the file elsewhere believes to be the last and removes the log that is still written to."""
    path = tmp_path / "ostiary.db"
    elsewhere = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('SELECT * FROM revision'); c.close()"
    with contextlib.closing(Database.open(path)) as first:
        with first.write() as tx:
            tx.run("UPDATE revision SET value = 7")
        Database.open(path).close()
        subprocess.run([sys.executable, "-c", elsewhere], check=True)
        assert path.with_name("ostiary.db-wal").exists()
        with first.write() as tx:
            tx.run("UPDATE revision SET value = 8")
        with contextlib.closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT value FROM revision").fetchone() == (8,)


def test_fd26_a_file_that_was_deleted_moved_or_replaced_is_not_written_any_more(tmp_path):
    path = tmp_path / "a.db"
    with contextlib.closing(Database.open(path)) as database:

        def gone():
            for use in (database.write, database.read, lambda: contextlib.nullcontext(database.revision())):
                with pytest.raises(OperatorError, match="deleted, moved or replaced") as caught, use():
                    pass
                assert caught.value.code is Code.STORE_UNAVAILABLE

        path.rename(tmp_path / "moved.db")
        gone()
        (tmp_path / "other.db").touch()
        (tmp_path / "other.db").rename(path)
        gone()
        (tmp_path / "moved.db").replace(path)
        with database.write() as tx:  # put back, it is used again
            tx.run("INSERT INTO installation (name, value) VALUES ('a', 'b')")
        path.unlink()
        gone()


# --- FD-26: the log beside the file ---------------------------------------------------------------------------


def log_bytes(path):
    return path.with_name(path.name + "-wal").stat().st_size


def busy(opened, rounds):
    """Changes of about a megabyte in all each round."""
    for i in range(rounds):
        with opened.write() as tx:
            tx.run("INSERT OR REPLACE INTO installation (name, value) VALUES (?, ?)", (f"n{i % 4}", "x" * 1_000_000))


def test_fd26_the_log_does_not_grow_with_what_is_written(tmp_path):
    path = tmp_path / "ostiary.db"
    opened = Database.open(path)
    busy(opened, 60)
    assert log_bytes(path) <= STORE_LOG_BYTES_KEPT_MAX
    opened.close()


def test_fd26_what_a_long_reader_made_the_log_grow_to_is_given_back_when_it_is_gone(tmp_path):
    path = tmp_path / "ostiary.db"
    opened, reader = Database.open(path), Database.open(path)
    with reader.read() as tx:
        tx.rows("SELECT * FROM installation")
        busy(opened, 40)
        assert log_bytes(path) > 2 * STORE_LOG_BYTES_KEPT_MAX, "nothing it may still read is thrown away"
    busy(opened, 8)
    assert log_bytes(path) <= STORE_LOG_BYTES_KEPT_MAX
    reader.close()
    opened.close()


def test_fd26_a_file_that_became_read_only_is_told_and_written_again_when_it_is_not(tmp_path):
    path = tmp_path / "ostiary.db"
    opened = Database.open(path)
    opened._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OperatorError, match="readonly") as told, opened.write() as tx:
        tx.run("INSERT INTO installation (name, value) VALUES ('a', '1')")
    assert told.value.code is Code.STORE_UNAVAILABLE
    opened._connection.execute("PRAGMA query_only = OFF")
    with opened.write() as tx:
        tx.run("INSERT INTO installation (name, value) VALUES ('a', '1')")
    opened.close()
