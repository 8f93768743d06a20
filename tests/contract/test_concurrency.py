"""What holds where several processes are at one store."""

import threading

import pytest

from ostiary.core.error import CallerError, Code, OstiaryError
from ostiary.core.event import Unauthenticated
from ostiary.govern.teams.model import Team
from ostiary.govern.tenants.model import Tenant
from ostiary.govern.usage.model import Dimension, Place
from tests.contract.test_key_store import change, digest, key
from tests.contract.test_usage_store import add, batch, call, report

WRITERS = 4
EACH = 15


def at_once(works):
    """Run all of these together; what each gave or raised."""
    gate, found = threading.Barrier(len(works)), [None] * len(works)

    def run(index, work):
        gate.wait()
        try:
            found[index] = work()
        except OstiaryError as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def others(stores):
    """The same place as several processes have it."""
    made = [stores.other() for _ in range(WRITERS)]
    yield made
    for one in made:
        one.close()


def test_of_several_who_remember_a_fact_all_get_the_same(others):
    works = [lambda one=one, n=n: one.installation.remember("pepper", str(n)) for n, one in enumerate(others)]
    assert len(set(at_once(works))) == 1


def test_changes_of_several_writers_are_numbered_without_gaps_in_the_order_they_are_seen(stores, others):
    """Who has read up to a number never finds a smaller one later: a change missed is a key that works on."""
    seen, gaps, done = [], [], threading.Event()

    def watch():
        while True:
            last = done.is_set()
            after = seen[-1] if seen else 0
            found = [number for number, _ in stores.outbox.since(after, 10_000)]
            if found != list(range(after + 1, after + 1 + len(found))):
                gaps.append((after, found))
            seen.extend(found)
            if last:
                return

    def write(one, writer):
        for n in range(EACH):
            one.keys.create(key(name=f"{writer}-{n}", key_id=f"k{writer}-{n}"), bytes([writer, n]) * 16, change())
            if n % 3 == 0:  # a failure in between must not use up a number
                with pytest.raises(CallerError):
                    one.keys.create(key(name=f"{writer}-{n}", key_id="again"), bytes([99, writer]) * 16, change())

    watcher = threading.Thread(target=watch)
    watcher.start()
    failed = [one for one in at_once([lambda o=o, w=w: write(o, w) for w, o in enumerate(others)]) if one is not None]
    done.set()
    watcher.join()
    assert failed == []
    assert gaps == []
    assert seen == list(range(1, WRITERS * EACH + 1))
    assert stores.outbox.last() == WRITERS * EACH
    assert stores.database.revision() == WRITERS * EACH
    assert len(stores.keys.list()) == WRITERS * EACH


def test_of_several_who_want_one_name_one_gets_it(stores, others):
    works = [
        lambda one=one, n=n: one.keys.create(key(key_id=f"k{n}"), digest(n), change()) for n, one in enumerate(others)
    ]
    found = at_once(works)
    assert found.count(None) == 1
    assert {one.code for one in found if one is not None} == {Code.OBJECT_EXISTS}
    assert len(stores.keys.list()) == 1
    assert len(stores.outbox.since(0)) == 1
    works = [lambda one=one: one.tenants.create(Tenant("acme", 1), change()) for one in others]
    assert at_once(works).count(None) == 1
    works = [
        lambda one=one, n=n: one.teams.create(Team(f"t{n}", "acme", "x", "sandbox", ()), change())
        for n, one in enumerate(others)
    ]
    assert at_once(works).count(None) == 1


def test_of_several_who_revoke_a_key_one_does(stores, others):
    stores.keys.create(key(), digest(1), change())
    works = [lambda one=one: one.keys.revoke("acme", "k1", 50, change()) for one in others]
    assert sorted(at_once(works)) == [False] * (WRITERS - 1) + [True]


def test_several_projectors_of_one_origin_count_once_and_of_several_count_all(stores, others):
    """All at the same rows of sums and refusals, in orders of their own: none waits for ever, none is lost."""
    teams = [f"team-{n}" for n in range(20)]

    def project(one, writer):
        moved = 0
        for n in range(EACH):
            before, after = Place(0, n, n), Place(0, n + 1, n + 1)
            order = teams if (n + writer) % 2 else teams[::-1]
            calls = [call(n * 20 + i, origin="same", team=team) for i, team in enumerate(order)]
            refusals = [Unauthenticated(1, "s", code, 1) for code in ("a", "b")[:: 1 if writer % 2 else -1]]
            moved += one.usage.apply("usage", "same", before, after, batch(calls, refusals=refusals))
            own = [call(n * 20 + i, origin=f"own-{writer}", team=team) for i, team in enumerate(order)]
            assert one.usage.apply("usage", f"own-{writer}", before, after, batch(own, refusals=refusals))
        return moved

    moved = at_once([lambda o=o, w=w: project(o, w) for w, o in enumerate(others)])
    assert sum(moved) == EACH
    assert {line.requests for line in report(stores, Dimension.TEAM).values()} == {(WRITERS + 1) * EACH}
    with stores.database.read() as tx:
        assert tx.rows("SELECT code, count FROM refusals ORDER BY code") == [
            ("a", (WRITERS + 1) * EACH),
            ("b", (WRITERS + 1) * EACH),
        ]


def test_others_may_give_up_days_that_this_one_has_just_used(stores, others):
    add(stores, [call(0, day="2026-01-01")])
    others[0].usage.keep("2026-01-03", "2026-01-03")
    after = Place(0, 9, 9)
    before = stores.usage.place("usage", "r1.0")
    try:
        done = stores.usage.apply("usage", "r1.0", before, after, batch([call(1, day="2026-01-01")]))
    except OstiaryError:
        done = stores.usage.apply("usage", "r1.0", before, after, batch([call(1, day="2026-01-01")]))
    assert done
    assert report(stores, Dimension.DAY)[("2026-01-01",)].requests == 2
