"""Copies of databases: every table, as it was at one moment, back into an empty place and nowhere else."""

import sqlite3
import threading

import pytest

from ostiary.bootstrap.system import SystemClock
from ostiary.core.error import Code, OperatorError
from ostiary.core.principal import TenantId
from ostiary.govern.change import Change
from ostiary.govern.tenants.model import Tenant
from ostiary.store.postgresql import copy, schema
from ostiary.store.postgresql.database import Database
from ostiary.store.sqlite.copy import copy as copy_sqlite
from tests import postgresql
from tests.contract.backends import Postgresql, Sqlite

CLOCK = SystemClock()


def add(stores, number):
    stores.tenants.create(
        Tenant(TenantId(f"t{number}"), number), Change(f"c{number}", number, "x", "tenant.create", "", "")
    )


def dump(database, folder):
    folder.mkdir()
    return copy.dump(database, folder)


@pytest.fixture
def filled():
    stores = Postgresql(None)
    add(stores, 1)
    stores.usage.keep("2026-01-01", "")
    stores.installation.remember("odd", "tab\tnew\nline \\N \\. \u2603 '\"")
    yield stores
    stores.end()


@pytest.fixture
def empty():
    postgresql.need()
    name = postgresql.new_schema()
    database = Database(postgresql.url(name), CLOCK)
    yield database
    database.close()
    postgresql.drop_schema(name)


def test_every_table_that_the_migrations_make_is_copied(filled):
    with filled.database.read() as tx:
        there = tx.rows(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        )
    assert {name for (name,) in there} == {*copy.TABLES, "migrations"}


def test_rows_come_back_as_they_were_and_the_schema_is_brought_forward(filled, empty, tmp_path):
    version, columns, days = dump(filled.database, tmp_path / "rows")
    assert version == schema.steps()[-1].migration.version
    copy.load(empty, CLOCK, tmp_path / "rows", version=version, columns=columns, days=days)
    schema.check(empty)
    for table in copy.TABLES:
        query = f"SELECT * FROM {table} AS t ORDER BY t::text"
        with filled.database.read() as one, empty.read() as other:
            assert one.rows(query) == other.rows(query), table


def test_the_server_knows_at_once_how_large_the_tables_are(filled, empty, tmp_path):
    version, columns, days = dump(filled.database, tmp_path / "rows")
    copy.load(empty, CLOCK, tmp_path / "rows", version=version, columns=columns, days=days)
    with empty.read() as tx:
        (unknown,) = tx.row("SELECT count(*) FROM pg_class WHERE oid = 'tenants'::regclass AND reltuples < 1")
    assert unknown == 0


def test_a_dump_of_an_older_schema_is_loaded(empty, tmp_path):
    before = schema.steps()[-2].migration.version
    name = postgresql.new_schema()
    older = Database(postgresql.url(name), CLOCK)
    with older.write() as tx:
        schema.take_up_to(tx, CLOCK, before)
        tx.run("INSERT INTO tenants (id, created_ns) VALUES ('acme', 1)")
    version, columns, days = dump(older, tmp_path / "rows")
    older.close()
    postgresql.drop_schema(name)
    assert version == before
    copy.load(empty, CLOCK, tmp_path / "rows", version=version, columns=columns, days=days)
    with pytest.raises(OperatorError, match="run `ostiary migrate`"):
        schema.check(empty)
    schema.migrate(empty, CLOCK)
    schema.check(empty)
    with empty.read() as tx:
        assert tx.rows("SELECT id FROM tenants") == [("acme",)]


def test_what_changes_while_it_is_copied_is_all_in_it_or_not_at_all(filled, empty, tmp_path):
    """Each change adds a tenant, a row of the outbox and a number of the revision: in a copy they agree."""
    done = threading.Event()

    def write():
        number = 2
        while not done.is_set():
            add(filled, number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for attempt in range(5):
            dump(filled.database, tmp_path / f"rows{attempt}")
    finally:
        done.set()
        writer.join(30)
    for attempt in range(5):
        folder = tmp_path / f"rows{attempt}"
        tenants, outbox = (len((folder / name).read_bytes().splitlines()) for name in ("tenants", "outbox"))
        assert tenants == outbox == int((folder / "revision").read_bytes().split()[1])


def test_a_database_in_use_or_a_table_that_is_not_ours_is_refused(filled, empty, tmp_path):
    version, columns, days = dump(filled.database, tmp_path / "rows")
    cases = [
        (filled.database, columns, days, "holds tables"),
        (empty, {**columns, "pg_authid": ("rolname",)}, days, "not known"),
        (empty, {**columns, "tenants": ('id"; DROP',)}, days, "not known"),
        (empty, columns, ("2026-01-01'",), "a day that is none"),
    ]
    for database, tables, listed, why in cases:
        with pytest.raises(OperatorError, match=why) as caught:
            copy.load(database, CLOCK, tmp_path / "rows", version=version, columns=tables, days=listed)
        assert caught.value.code is Code.CONFIG_INVALID
    (tmp_path / "rows" / "teams").write_bytes(b"not what COPY gives\n")
    with pytest.raises(OperatorError) as caught:
        copy.load(empty, CLOCK, tmp_path / "rows", version=version, columns=columns, days=days)
    assert caught.value.code is Code.STORE_UNAVAILABLE
    copy.check_empty(empty)  # nothing of it stayed


def test_sqlite_is_copied_while_it_is_written(tmp_path):
    stores = Sqlite(tmp_path)
    done = threading.Event()

    def write():
        number = 1
        while not done.is_set():
            add(stores, number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for attempt in range(5):
            copy_sqlite(stores.path, tmp_path / f"copy{attempt}")
    finally:
        done.set()
        writer.join(30)
    stores.close()
    for attempt in range(5):
        with sqlite3.connect(tmp_path / f"copy{attempt}") as made:
            ((tenants,),) = made.execute("SELECT count(*) FROM tenants")
            ((outbox,),) = made.execute("SELECT count(*) FROM outbox")
            ((revision,),) = made.execute("SELECT value FROM revision")
        made.close()
        assert tenants == outbox == revision
    with pytest.raises(OperatorError, match="cannot be copied"):
        copy_sqlite(stores.path, tmp_path / "copy0")
    with pytest.raises(OperatorError, match="cannot be copied"):
        copy_sqlite(tmp_path / "missing.db", tmp_path / "never")
