"""Journals that project into a database: when they were seen, and what declaring one lost does."""

import threading

import pytest

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import ORIGIN_SILENCE_SECONDS
from ostiary.govern.actor import Actor, Permission, operator
from ostiary.govern.change import Change
from ostiary.govern.origins.model import Origin, Retirement
from ostiary.govern.origins.service import LOST_SEGMENT, OriginService
from ostiary.govern.usage.model import Batch, Dimension, OpenCall, Place, UsageQuery
from ostiary.testing.clock import FakeClock
from tests.contract.backends import CountingIds

ROOT = operator("local:ann")
LOST = "r1.0"
NS = 10**9
AFTER = Place(0, 512, 40)


def batch(**parts):
    lists = {name: [] for name in ("calls", "closed", "refusals", "gaps", "recoveries", "unreadable")}
    return Batch(**{**lists, "opened": {}, **parts})


def call(sequence):
    return OpenCall(sequence, 1, "acme", "search", "k1", "chat", f"req-{sequence}")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def service(stores, clock):
    return OriginService(stores.origins, stores.usage, clock, CountingIds(), "usage")


@pytest.fixture
def left_open(stores):
    """An origin that projected 40 records and left two calls open."""
    assert stores.usage.apply("usage", LOST, Place(), AFTER, batch(opened={7: call(7), 39: call(39)}))
    return LOST


def lines(stores):
    return stores.usage.report(UsageQuery((Dimension.TEAM,)))


def refused(code, work):
    with pytest.raises(CallerError) as caught:
        work()
    assert caught.value.code is code
    return caught.value.message


def test_origins_are_those_seen_and_those_projected(stores, left_open):
    assert stores.origins.list() == [Origin(LOST, 0, 40)]
    stores.origins.seen(["r0.1", "r0.0", LOST], 5)
    stores.origins.seen(["r0.0"], 3)
    assert stores.origins.list() == [Origin("r0.0", 5, 0), Origin("r0.1", 5, 0), Origin(LOST, 5, 40)]


def test_a_lost_origin_is_closed_once_with_who_and_why(stores, service, clock, left_open):
    done = service.retire(ROOT, LOST, " the  disk burnt ", frozenset())
    assert (done.aborted, done.again) == (2, False)
    assert done.origin.retirement == Retirement(clock.now_ns(), "local:ann", "the disk burnt")
    (line,) = lines(stores)
    assert (line.requests, line.errors, line.cost_nano) == (2, 2, {})
    assert stores.origins.open_calls(LOST) == []
    ((_, change),) = stores.outbox.since(0)
    assert (change.action, change.object_id, change.actor) == ("origin.retire", LOST, "local:ann")
    assert change.detail == {"reason": "the disk burnt", "records": 40}
    clock.advance(5)
    again = service.retire(ROOT, LOST, "another reason", frozenset())
    assert (again.aborted, again.again) == (0, True)
    assert again.origin.retirement == done.origin.retirement
    assert lines(stores) == [line]
    assert stores.outbox.last() == 1


def test_a_replica_that_comes_back_projects_nothing_more(stores, service, left_open):
    service.retire(ROOT, LOST, "gone", frozenset())
    assert not stores.usage.apply("usage", LOST, AFTER, Place(0, 600, 42), batch(closed=[7]))
    assert stores.usage.place("usage", LOST) == Place(LOST_SEGMENT, 0, 40)


def test_one_that_is_alive_is_not_declared_lost(stores, service, clock, left_open):
    stores.origins.seen([LOST], clock.now_ns())
    clock.advance(ORIGIN_SILENCE_SECONDS - 1)
    assert "it runs" in refused(Code.OBJECT_INVALID, lambda: service.retire(ROOT, LOST, "x", frozenset()))
    assert stores.outbox.last() == 0
    assert len(stores.origins.open_calls(LOST)) == 2
    clock.advance(1)
    assert service.retire(ROOT, LOST, "x", frozenset()).aborted == 2


def test_one_whose_journal_is_here_is_not_declared_lost(service, left_open):
    assert "start Ostiary" in refused(Code.OBJECT_INVALID, lambda: service.retire(ROOT, LOST, "x", frozenset({LOST})))


def test_what_is_not_known_not_said_or_not_allowed_is_refused(service, left_open):
    refused(Code.OBJECT_NOT_FOUND, lambda: service.retire(ROOT, "r9.0", "x", frozenset()))
    refused(Code.OBJECT_INVALID, lambda: service.retire(ROOT, LOST, "  ", frozenset()))
    refused(Code.OBJECT_INVALID, lambda: service.retire(ROOT, LOST, "x" * 501, frozenset()))
    for needed, step in (
        (Permission.AUDIT_WRITE, lambda who: service.retire(who, LOST, "x", frozenset())),
        (Permission.AUDIT_READ, service.list),
    ):
        bare = Actor("bare", frozenset(Permission) - {needed})
        refused(Code.AUTH_FORBIDDEN, lambda: step(bare))
        step(Actor("fit", frozenset({needed})))
    tenants_own = Actor("theirs", frozenset(Permission), tenant="acme")
    refused(Code.AUTH_FORBIDDEN, lambda: service.list(tenants_own))


def test_interrupted_between_its_two_steps_it_is_finished_by_the_next(stores, service, clock, left_open):
    change = Change("c1", 1, "local:ann", "origin.retire", "", LOST)
    stores.origins.retire(LOST, Retirement(1, "local:ann", "first"), clock.now_ns(), change)
    assert len(stores.origins.open_calls(LOST)) == 2
    done = service.retire(ROOT, LOST, "second", frozenset())
    assert (done.aborted, done.again, done.origin.retirement.reason) == (2, True, "first")


def test_of_many_that_declare_it_at_once_all_agree_and_each_call_is_closed_once(stores, clock, left_open):
    results = []

    def work(number):
        other = stores.other()
        service = OriginService(other.origins, other.usage, clock, CountingIds(), "usage")
        try:
            results.append(service.retire(operator(f"local:{number}"), LOST, "gone", frozenset()))
        except CallerError as error:  # the id of its change is another's: its transaction was undone
            results.append(error)
        finally:
            other.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({done.origin.retirement for done in results}) == 1
    assert sum(done.aborted for done in results) == 2
    assert stores.outbox.last() == 1
    assert lines(stores)[0].requests == 2
