"""PostgreSQL's schema: changed by a command alone, step by step, and who may use which."""

import subprocess
import sys
import threading

import pytest

from ostiary.bootstrap.system import SystemClock
from ostiary.core.error import Code, OperatorError
from ostiary.govern.migration import Migration
from ostiary.store.postgresql import schema
from ostiary.store.postgresql.database import Database
from ostiary.store.postgresql.schema import Step, check, migrate, plan, steps
from tests import postgresql

CLOCK = SystemClock()
KNOWN = steps()
NEWEST = KNOWN[-1].migration.version


def step(number, sql, *, contracts=False):
    return Step(Migration(NEWEST + number, f"more {number}", contracts), sql)


@pytest.fixture
def place():
    postgresql.need()
    name = postgresql.new_schema()
    yield name
    postgresql.drop_schema(name)


@pytest.fixture
def database(place):
    opened = Database(postgresql.url(place), CLOCK)
    yield opened
    opened.close()


@pytest.fixture
def ships(monkeypatch):
    """Let the program have these steps besides its own."""
    return lambda *more: monkeypatch.setattr(schema, "steps", lambda: [*KNOWN, *more])


def refusal(work):
    with pytest.raises(OperatorError) as caught:
        work()
    assert caught.value.code is Code.STORE_UNAVAILABLE
    return caught.value.message


def tables(database):
    with database.read() as tx:
        found = tx.rows("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
    return {name for (name,) in found}


def test_nothing_is_made_but_by_the_command(database):
    assert "run `ostiary migrate`" in refusal(lambda: check(database))
    planned = plan(database)
    assert (planned.version, [one.version for one in planned.due]) == (0, list(range(1, NEWEST + 1)))
    assert tables(database) == set()
    told = []
    assert migrate(database, CLOCK, told=told.append) == planned
    assert tuple(told) == planned.due
    check(database)
    assert plan(database).due == ()
    assert migrate(database, CLOCK, told=told.append).due == ()
    assert len(told) == NEWEST


def test_an_older_schema_is_refused_until_it_is_migrated(database, ships):
    migrate(database, CLOCK)
    ships(step(1, "CREATE TABLE more (x text)"))
    assert "run `ostiary migrate`" in refusal(lambda: check(database))
    migrate(database, CLOCK)
    check(database)
    assert "more" in tables(database)


def test_fd29_a_program_works_with_a_newer_schema_until_that_takes_something_away(database, ships, monkeypatch):
    migrate(database, CLOCK)
    expanding, contracting = step(1, "CREATE TABLE more (x text)"), step(2, "DROP TABLE gaps", contracts=True)
    ships(expanding, contracting)
    planned = migrate(database, CLOCK)
    assert (planned.due, planned.waiting) == ((expanding.migration,), (contracting.migration,))
    check(database)
    assert "gaps" in tables(database)
    monkeypatch.undo()
    check(database)
    assert plan(database).due == ()
    ships(expanding, contracting)
    assert migrate(database, CLOCK, contract=True).due == (contracting.migration,)
    check(database)
    assert "gaps" not in tables(database)
    monkeypatch.undo()
    for work in (check, plan, lambda one: migrate(one, CLOCK)):
        assert "install the newer version again" in refusal(lambda work=work: work(database))


def test_an_empty_database_needs_no_word_for_what_contracts(database, ships):
    ships(step(1, "DROP TABLE gaps", contracts=True))
    assert migrate(database, CLOCK).waiting == ()
    assert "gaps" not in tables(database)


def test_a_step_that_fails_leaves_nothing_of_itself_and_is_gone_on_from(database, ships):
    migrate(database, CLOCK)
    good = step(1, "CREATE TABLE more (x text)")
    ships(good, step(2, "CREATE TABLE half (x text); DROP TABLE nothing"))
    assert "nothing" in refusal(lambda: migrate(database, CLOCK))
    assert "more" in tables(database)
    assert "half" not in tables(database)
    ships(good, step(2, "CREATE TABLE half (x text)"))
    assert [one.version for one in migrate(database, CLOCK).due] == [NEWEST + 2]
    assert "half" in tables(database)


def test_several_at_once_take_each_step_once(place):
    told, failed = [], []

    def run():
        one = Database(postgresql.url(place), CLOCK)
        try:
            migrate(one, CLOCK, told=told.append)
            check(one)
        except OperatorError as error:
            failed.append(error)
        finally:
            one.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [one.version for one in told] == list(range(1, NEWEST + 1))


KILLED = """
import sys
from ostiary.bootstrap.system import SystemClock
from ostiary.govern.migration import Migration
from ostiary.store.postgresql import schema
from ostiary.store.postgresql.database import Database
known = schema.steps()
more = schema.Step(Migration(len(known) + 1, "more"), sys.argv[2])
schema.steps = lambda: [*known, more]
schema.migrate(Database(sys.argv[1], SystemClock()), SystemClock())
print("migrated")
"""


def test_fd29_killed_half_way_it_is_run_again(place, database, ships):
    """The process is killed while a step waits in its middle for a lock; what it had done by then is not there."""
    migrate(database, CLOCK)
    sql = "CREATE TABLE half (x text); LOCK TABLE gaps IN ACCESS EXCLUSIVE MODE; CREATE TABLE other (x text)"
    with postgresql.admin() as holder, holder.transaction():
        holder.execute(f"LOCK TABLE {place}.gaps IN ACCESS SHARE MODE")
        words = [sys.executable, "-c", KILLED, postgresql.url(place), sql]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        waiting = (
            "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
            "WHERE NOT l.granted AND c.relname = 'gaps' AND c.relnamespace = %s::regnamespace"
        )
        while holder.execute(waiting, (place,)).fetchone() == (0,):
            assert process.poll() is None
        process.kill()
        assert process.communicate()[0] == b""
        assert {"half", "other"} & tables(database) == set()
        check(database)
    ships(step(1, sql))
    migrate(database, CLOCK)
    check(database)
    assert {"half", "other"} <= tables(database)
