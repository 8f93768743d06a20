"""What every store of purges must do."""

from ostiary.govern.change import Change
from ostiary.govern.purges.model import Purge
from tests.contract.backends import CountingIds

IDS = CountingIds()


def purge(stores, tenant, tag, at_ns, forget=0):
    change = Change(IDS.new(), at_ns, "local:me", "cache.purge", tenant, tag)
    return stores.purges.purge(Purge(tenant, tag, at_ns), change, forget)


def test_a_purge_has_the_number_of_its_change_and_numbers_grow(stores):
    first = purge(stores, "acme", "model:chat", 10)
    second = purge(stores, "", "tag:docs", 20)
    assert 0 < first < second == stores.outbox.last()
    assert [(number, change.action) for number, change in stores.outbox.since(first - 1)] == [
        (first, "cache.purge"),
        (second, "cache.purge"),
    ]
    assert stores.purges.list(0, 10) == [Purge("", "tag:docs", 20, second), Purge("acme", "model:chat", 10, first)]


def test_the_last_purge_of_a_tag_counts(stores):
    purge(stores, "acme", "model:chat", 10)
    number = purge(stores, "acme", "model:chat", 30)
    assert stores.purges.list(0, 10) == [Purge("acme", "model:chat", 30, number)]


def test_lists_are_bounded_and_begin_with_the_last(stores):
    numbers = [purge(stores, "acme", f"tag:{at}", at) for at in range(1, 6)]
    assert [one.number for one in stores.purges.list(0, 2)] == numbers[:-3:-1]
    assert [one.at_ns for one in stores.purges.list(4, 10)] == [5, 4]


def test_what_no_answer_can_be_older_than_is_forgotten(stores):
    purge(stores, "acme", "tag:old", 10)
    purge(stores, "acme", "tag:new", 100, forget=50)
    assert [one.tag for one in stores.purges.list(0, 10)] == ["tag:new"]


def test_a_purge_lets_the_publisher_see_that_there_was_one_and_survives_a_restart(stores):
    before = stores.database.revision()
    purge(stores, "acme", "", 10)
    assert stores.database.revision() != before
    stores.reopen()
    assert [one.tenant for one in stores.purges.list(0, 10)] == ["acme"]
