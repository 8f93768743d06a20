"""What holds of every outbox of changes."""

from ostiary.govern.change import Change
from ostiary.govern.tenants.model import Tenant
from tests.contract.test_concurrency import at_once

SECOND = 1_000_000_000


def add(stores, *numbers):
    for number in numbers:
        made = Change(f"c{number}", number, "someone", "tenant.create", f"t{number}", f"t{number}", {"n": number})
        stores.tenants.create(Tenant(f"t{number}", 1), made)


def claim(stores, by="r0", now=0, until=60 * SECOND, count=10):
    return [number for number, _ in stores.outbox.claim(by, now, until, count)]


def test_changes_wait_until_they_are_delivered_and_are_claimed_in_their_order(stores):
    assert not stores.outbox.waiting()
    assert claim(stores) == []
    add(stores, 1, 2, 3)
    assert stores.outbox.waiting()
    ((number, change), _) = stores.outbox.claim("r0", 0, 60 * SECOND, 2)
    assert (number, change.id, change.action, change.detail) == (1, "c1", "tenant.create", {"n": 1})
    stores.outbox.delivered(2, 7)
    assert claim(stores) == [3]
    stores.outbox.delivered(3, 8)
    assert not stores.outbox.waiting()
    assert [number for number, _ in stores.outbox.since(0)] == [1, 2, 3], "what was delivered can still be read"


def test_what_one_has_claimed_no_other_gets_until_the_claim_ends_or_is_given_up(stores):
    add(stores, 1, 2)
    assert claim(stores, "r0", now=0, count=1) == [1]
    assert claim(stores, "r1", now=59 * SECOND) == [], "nor what comes after it: changes keep their order"
    assert claim(stores, "r0", now=59 * SECOND) == [1, 2], "one's own claim is no hindrance"
    assert claim(stores, "r1", now=60 * SECOND, until=120 * SECOND) == [1, 2]
    assert claim(stores, "r0", now=61 * SECOND) == []
    stores.outbox.release("r0")
    assert claim(stores, "r0", now=61 * SECOND) == [], "only one's own is given up"
    stores.outbox.release("r1")
    assert claim(stores, "r0", now=61 * SECOND) == [1, 2]


def test_of_several_at_once_one_gets_them(stores):
    add(stores, *range(1, 6))
    others = [stores.other() for _ in range(4)]
    try:
        found = at_once([lambda one=one, n=n: claim(one, f"r{n}") for n, one in enumerate(others)])
    finally:
        for one in others:
            one.close()
    assert sorted(found) == [[], [], [], [1, 2, 3, 4, 5]]
