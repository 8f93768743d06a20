"""The review queue on the SQLite store: who may read and decide, and what goes on where something was interrupted."""

import os

import pytest

from ostiary.core.error import CallerError, Code, OperatorError
from ostiary.core.limit import REVIEW_ANSWER_CHARS_MAX
from ostiary.core.review import Verdict
from ostiary.govern.actor import Actor, Permission, operator
from ostiary.govern.reviews.model import State
from ostiary.govern.reviews.service import ReviewService
from ostiary.store.reviews.sealed import ReviewSeals
from ostiary.testing.clock import FakeClock
from tests.contract.backends import CountingIds, backend
from tests.contract.test_review_store import review

FAR = 2_000_000_000
QUESTION = b'{"messages":[]}'
ANN = operator("ann")


@pytest.fixture
def desk(tmp_path):
    stores = backend("sqlite", tmp_path)
    seals = ReviewSeals(b"k" * 32, os.urandom)
    service = ReviewService(stores.reviews, seals, FakeClock(), CountingIds())
    service.stores, service.seals = stores, seals
    for number, tenant in ((1, "acme"), (2, "other")):
        one = review(number, tenant=tenant, until=FAR)
        stores.reviews.add(one, seals.seal(tenant, one.id, "question", QUESTION))
    yield service
    stores.close()


def refused(code, doing):
    with pytest.raises(CallerError) as caught:
        doing()
    assert caught.value.code is code


def only(*permissions, tenant=None):
    return Actor("bob", frozenset(permissions), tenant)


def test_a_reviewer_of_a_tenant_sees_and_decides_its_own_alone(desk):
    bob = only(*Permission, tenant="acme")
    assert [one.review.request_id for one in desk.list(bob)] == ["req-1"]
    refused(Code.OBJECT_NOT_FOUND, lambda: desk.list(bob, tenant="other"))
    for word in ("req-2", review(2, until=FAR).id, "req-9"):
        refused(Code.OBJECT_NOT_FOUND, lambda word=word: desk.show(bob, word))
        refused(Code.OBJECT_NOT_FOUND, lambda word=word: desk.decide(bob, word, Verdict.ANSWERED, "x"))
    assert desk.show(bob, "req-1")[1] == QUESTION


@pytest.mark.parametrize(
    ("permission", "doing"),
    [
        (Permission.REVIEWS_READ, lambda desk, who: desk.list(who)),
        (Permission.REVIEWS_CONTENT, lambda desk, who: desk.show(who, "req-1")),
        (Permission.REVIEWS_DECIDE, lambda desk, who: desk.decide(who, "req-1", Verdict.DECLINED, "no")),
    ],
)
def test_each_thing_needs_its_own_permission(desk, permission, doing):
    refused(Code.AUTH_FORBIDDEN, lambda: doing(desk, only(*(set(Permission) - {permission}))))
    assert doing(desk, only(permission))


def test_that_a_request_was_read_is_on_record_before_it_is_given(desk):
    last = desk.stores.outbox.last()
    desk.show(ANN, "req-1")
    ((_, change),) = desk.stores.outbox.since(last)
    assert (change.actor, change.action, change.tenant) == ("ann", "review.read", "acme")
    assert change.detail == {}


def test_a_decision_waits_for_its_record_and_goes_on_where_it_was_interrupted(desk):
    decided, text = desk.decide(ANN, "req-1", Verdict.ANSWERED, "first words")
    assert (desk.list(ANN, waiting=False)[0].state, text) == (State.DECIDING, "first words")
    again, kept = desk.decide(ANN, "req-1", Verdict.ANSWERED, "other words")
    assert (again.decided_ns, kept) == (decided.decided_ns, "first words")
    refused(Code.OBJECT_EXISTS, lambda: desk.decide(ANN, "req-1", Verdict.DECLINED, "no"))
    refused(Code.OBJECT_EXISTS, lambda: desk.decide(operator("bob"), "req-1", Verdict.ANSWERED, "x"))
    desk.record(ANN, decided)
    assert desk.list(ANN, waiting=False)[0].state is State.ANSWERED
    refused(Code.OBJECT_EXISTS, lambda: desk.decide(ANN, "req-1", Verdict.ANSWERED, "first words"))


@pytest.mark.parametrize("text", ["", "  ", "x" * (REVIEW_ANSWER_CHARS_MAX + 1)])
def test_a_decision_says_something_within_bounds(desk, text):
    refused(Code.OBJECT_INVALID, lambda: desk.decide(ANN, "req-1", Verdict.ANSWERED, text))


def test_what_has_ended_is_neither_listed_nor_decided(desk):
    one = review(3, until=1)
    desk.stores.reviews.add(one, b"")
    assert len(desk.list(ANN)) == 2
    refused(Code.OBJECT_NOT_FOUND, lambda: desk.decide(ANN, "req-3", Verdict.ANSWERED, "x"))


def test_a_text_that_was_moved_to_another_tenants_row_does_not_open(desk):
    with desk.stores.database.write() as tx:
        tx.run("UPDATE reviews SET question = (SELECT question FROM reviews WHERE request_id = 'req-2')")
    with pytest.raises(OperatorError, match="does not open"):
        desk.show(ANN, "req-1")
