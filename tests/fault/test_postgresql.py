"""A database server that goes away, comes back, answers late or not at all."""

import contextlib
import threading

import psycopg
import pytest

from ostiary.bootstrap.system import SystemClock
from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import STORE_CONNECTIONS_MAX, STORE_RETRY_SECONDS, STORE_RETRY_SECONDS_MAX
from ostiary.govern.keys.model import KeySecret
from ostiary.govern.tenants.model import Tenant
from ostiary.govern.usage.model import Batch, Dimension, UsageQuery
from ostiary.projector.loop import Projector
from ostiary.projector.step import CONSUMER, project_origin
from ostiary.store.journal.reader import JournalFiles
from ostiary.store.postgresql import database as postgresql_database
from ostiary.store.postgresql import schema
from ostiary.store.postgresql.database import Database
from ostiary.store.postgresql.keys import PostgresqlKeys
from ostiary.store.postgresql.tenants import PostgresqlTenants
from ostiary.store.postgresql.usage import PostgresqlUsage
from ostiary.testing.clock import FakeClock
from tests import postgresql
from tests.contract.test_key_store import change, digest, key
from tests.unit.store.journal.chain import ORIGIN, Client, start


@pytest.fixture
def place():
    postgresql.need()
    name = postgresql.new_schema()
    made = Database(postgresql.url(name), SystemClock())
    schema.migrate(made, SystemClock())
    made.close()
    yield name
    postgresql.drop_schema(name)


@pytest.fixture
def proxy():
    postgresql.need()
    made = postgresql.Proxy()
    yield made
    made.close()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def database(place, proxy, clock):
    """Through the proxy, in clear, so that it sees what passes."""
    opened = Database(postgresql.url(place, port=proxy.port, sslmode="disable", gssencmode="disable"), clock)
    yield opened
    opened.close()


def refusal(work):
    with pytest.raises(OperatorError) as caught:
        work()
    assert caught.value.code is Code.STORE_UNAVAILABLE
    return caught.value.message


def requests(usage):
    return sum(line.requests for line in usage.report(UsageQuery((Dimension.TEAM,))))


@pytest.mark.parametrize("word", [b"COMMIT\0", b"usage_daily", b"COPY calls", b"INTO offsets", b"BEGIN"])
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done, and the answer lost"])
def test_fd23_a_connection_lost_anywhere_in_a_transaction_charges_each_call_once(
    tmp_path, database, proxy, word, after
):
    started = start(tmp_path / "journal")
    source, usage, calls = JournalFiles(tmp_path / "journal"), PostgresqlUsage(database), 0
    for _ in range(3):
        # The place advances by an insert the first time only; a word that does not come breaks nothing off.
        proxy.break_off_at(word, after=after)
        for _ in range(4):
            Client(started.writer).call()
            started.writer.work()
            calls += 1
        with contextlib.suppress(OperatorError):
            project_origin(source, usage, ORIGIN)
        proxy.word = b""
        project_origin(source, usage, ORIGIN)
        assert requests(usage) == calls
    assert proxy.broken_off >= 1
    assert project_origin(source, usage, ORIGIN) == 0


def test_a_change_whose_answer_was_lost_is_told_as_unknown(database, proxy):
    tenants = PostgresqlTenants(database)
    assert tenants.list() == []
    proxy.break_off_at(b"COMMIT\0", after=True)
    assert "Look whether it was" in refusal(lambda: tenants.create(Tenant("done", 1), change()))
    proxy.break_off_at(b"COMMIT\0", after=False)
    assert "Look whether it was" in refusal(lambda: tenants.create(Tenant("undone", 1), change()))
    assert [tenant.id for tenant in tenants.list()] == ["done"]


def test_connections_that_died_while_nobody_used_them_are_not_noticed(database, proxy):
    tenants = PostgresqlTenants(database)
    for number in range(4):
        tenants.create(Tenant(f"t{number}", 1), change())
        proxy.cut()
    assert len(tenants.list()) == 4


def test_fd22_the_projector_tries_again_and_tells_why(tmp_path, database, proxy, clock):
    started = start(tmp_path / "journal")
    Client(started.writer).call()
    started.writer.work()
    usage, told = PostgresqlUsage(database), []
    projector = Projector(JournalFiles(tmp_path / "journal"), usage, lambda origin, error: told.append(error.message))
    proxy.down()
    for _ in range(3):
        assert projector.run_once() == 0
    assert set(projector.faults) == {ORIGIN}
    assert len(told) == 3
    assert "Connection refused" in told[-1]
    proxy.up()
    clock.advance(STORE_RETRY_SECONDS_MAX)
    projector.run_once()
    assert projector.faults == {}
    assert requests(usage) == 1


def test_a_server_that_is_gone_is_asked_again_after_a_growing_pause(database, proxy, clock):
    proxy.down()
    pauses, pause = [], STORE_RETRY_SECONDS
    while pause < STORE_RETRY_SECONDS_MAX:
        pauses.append(pause)
        pause *= 2
    for pause in (*pauses, STORE_RETRY_SECONDS_MAX, STORE_RETRY_SECONDS_MAX):
        said = refusal(database.revision)
        # It is back, and within the pause nobody looks.
        proxy.up()
        clock.advance(pause - 0.001)
        assert refusal(database.revision) == said
        proxy.down()
        clock.advance(0.001)
    proxy.up()
    clock.advance(STORE_RETRY_SECONDS_MAX)
    assert database.revision() == 0
    proxy.down()
    refusal(database.revision)
    proxy.up()
    clock.advance(STORE_RETRY_SECONDS)
    assert database.revision() == 0


def test_fd25_more_transactions_than_connections_wait_and_are_told(database, monkeypatch):
    monkeypatch.setattr(postgresql_database, "STORE_WAIT_SECONDS_MAX", 0.01)
    held, let_go = threading.Barrier(STORE_CONNECTIONS_MAX + 1), threading.Event()

    def hold():
        with database.read():
            held.wait()
            let_go.wait()

    threads = [threading.Thread(target=hold) for _ in range(STORE_CONNECTIONS_MAX)]
    for thread in threads:
        thread.start()
    held.wait()
    assert "busy" in refusal(database.revision)
    let_go.set()
    for thread in threads:
        thread.join()
    assert database.revision() == 0


def test_fd24_a_lock_that_is_held_is_waited_for_then_told(database, place, monkeypatch):
    short = postgresql_database._BEGIN_WRITE.replace("lock_timeout = 5000", "lock_timeout = 20")
    assert short != postgresql_database._BEGIN_WRITE
    monkeypatch.setattr(postgresql_database, "_BEGIN_WRITE", short)
    tenants = PostgresqlTenants(database)
    with postgresql.admin() as holder, holder.transaction():
        holder.execute(f"SELECT 1 FROM {place}.revision FOR UPDATE")
        assert "lock timeout" in refusal(lambda: tenants.create(Tenant("a", 1), change()))
        assert database.revision() == 0
    tenants.create(Tenant("a", 1), change())
    assert database.revision() == 1


def test_a_statement_that_takes_too_long_is_told(database, monkeypatch):
    short = postgresql_database._BEGIN_READ.replace("statement_timeout = 30000", "statement_timeout = 20")
    assert short != postgresql_database._BEGIN_READ
    monkeypatch.setattr(postgresql_database, "_BEGIN_READ", short)

    def work():
        with database.read() as tx:
            tx.rows("SELECT pg_sleep(20)")

    assert "statement timeout" in refusal(work)
    assert database.revision() == 0


def test_a_server_that_does_not_answer_is_given_up(database, proxy, monkeypatch):
    tenants = PostgresqlTenants(database)
    tenants.create(Tenant("before", 1), change())
    monkeypatch.setattr(postgresql_database, "STORE_TRANSACTION_SECONDS_MAX", 0.2)

    def work():
        with database.write() as tx:
            tx.run("INSERT INTO tenants (id, created_ns) VALUES ('never', 1)")
            proxy.stall()
            tx.run("SELECT 1")

    assert "cannot be used" in refusal(work)
    monkeypatch.undo()
    proxy.go_on()
    assert [tenant.id for tenant in tenants.list()] == ["before"]


def test_a_rotation_waits_for_a_revocation_that_is_being_made(database, place):
    keys = PostgresqlKeys(database)
    keys.create(key(), digest(1), change())
    answers = []
    rotating = threading.Thread(
        target=lambda: answers.append(
            keys.rotate("acme", "k1", digest(2), KeySecret("h", 60), old_until_ns=70, change=change())
        )
    )
    with postgresql.admin() as watcher, postgresql.admin() as other:
        with other.transaction():
            other.execute(f"UPDATE {place}.keys SET revoked_ns = 50")
            rotating.start()
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
            while rotating.is_alive() and watcher.execute(waits, ("%FROM keys%FOR UPDATE",)).fetchone() == (0,):
                pass
            assert answers == []
        rotating.join()
    assert answers == [False]


def test_a_database_in_another_encoding_or_one_that_only_reads_is_refused(place, monkeypatch):
    url = postgresql.url(place)
    assert "read-only" in refusal(Database(f"{url}%20-cdefault_transaction_read_only%3Don", FakeClock()).revision)
    monkeypatch.setattr(psycopg.ConnectionInfo, "parameter_status", lambda _, name: "LATIN1")
    assert "must be UTF8" in refusal(Database(url, FakeClock()).revision)


def test_no_message_shows_the_user_or_the_password(place):
    for url in (
        "postgresql://someone:canary@127.0.0.1:1/x",
        "postgresql://someone:canary@127.0.0.1:1/x?nonsense=1",
        "postgresql://someone:canary%zz@127.0.0.1/x",
    ):
        with pytest.raises(OperatorError) as caught:
            Database(url, FakeClock()).revision()
        assert "canary" not in caught.value.message
        assert "someone" not in caught.value.message


def test_what_was_read_far_is_told_by_the_place_alone(tmp_path, database):
    """A projector of another process went on meanwhile: this one does nothing and loses nothing."""
    started = start(tmp_path / "journal")
    Client(started.writer).call()
    started.writer.work()
    usage = PostgresqlUsage(database)
    source = JournalFiles(tmp_path / "journal")
    place = usage.place(CONSUMER, ORIGIN)
    assert project_origin(source, usage, ORIGIN) > 0
    assert not usage.apply(CONSUMER, ORIGIN, place, usage.place(CONSUMER, ORIGIN), Batch([], {}, [], [], [], [], []))
    assert requests(usage) == 1


def test_fd24_a_deadlock_is_told_and_what_it_undid_is_done_by_the_next_pass(tmp_path, database, place):
    """Two transactions that want the same in another order: the server undoes one of them, here the projector's."""
    root = tmp_path / "journal"
    started = start(root)
    for _ in range(5):
        Client(started.writer).call()
    started.writer.work()
    usage = PostgresqlUsage(database)
    projector = Projector(JournalFiles(root), usage)
    told = []
    with postgresql.admin() as other:
        other.execute(f"SET search_path TO {place}")
        other.execute("SET deadlock_timeout = '60s'")  # the projector's side is the one that is undone
        other.execute("BEGIN")
        other.execute("LOCK TABLE usage_daily IN ACCESS EXCLUSIVE MODE")
        working = threading.Thread(target=lambda: told.append(projector.run_once()))
        working.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
        while not other.execute(waits, (f"{place}.usage_daily",)).fetchone()[0]:
            assert working.is_alive()
        other.execute("LOCK TABLE offsets IN ACCESS EXCLUSIVE MODE")
        other.execute("ROLLBACK")
        working.join(30)
    assert told == [0]
    (fault,) = projector.faults.values()
    assert fault.code is Code.STORE_UNAVAILABLE
    # On a machine so busy that the server looked before both waited, it is the bound on waiting for a lock.
    assert "deadlock" in fault.message or "lock timeout" in fault.message
    assert projector.run_once() > 0
    assert not projector.faults
    assert requests(usage) == 5
