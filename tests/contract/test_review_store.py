"""What every store of the review queue must do."""

import threading

import pytest

from ostiary.core.call import DialectName
from ostiary.core.review import Review, Verdict
from ostiary.govern.change import Change
from tests.contract.backends import CountingIds

IDS = CountingIds()
S = 10**9


def review(number=0, *, tenant="acme", at=100, until=10_000, callback="", model="gpt"):
    return Review(
        id=f"ticket-req-{number}-{until}-{number:032x}",
        at_ns=at * S + number,
        until=until,
        tenant=tenant,
        team="search",
        environment="production",
        key_id="key-1",
        request_id=f"req-{number}",
        model=model,
        dialect=DialectName.OPENAI,
        reason="upstream.error",
        callback=callback,
    )


def change(one, action="review.answered", actor="ann", at=200):
    return Change(IDS.new(), at * S, actor, action, one.tenant, one.id)


def decided(stores, one, *, at=300):
    assert stores.reviews.decide(one, Verdict.ANSWERED, b"sealed answer", change(one))
    stores.reviews.record(one, at * S)


def test_what_waits_is_listed_by_tenant_and_the_oldest_first(stores):
    for number, tenant in ((2, "acme"), (1, "acme"), (3, "other")):
        stores.reviews.add(review(number, tenant=tenant), b"sealed")
    assert [one.review for one in stores.reviews.queued("acme", 10)] == [review(1), review(2)]
    assert len(stores.reviews.queued(None, 10, waiting=True)) == 3
    assert len(stores.reviews.queued(None, 2)) == 2
    assert stores.reviews.queued(None, 10, waiting=False) == []


def test_how_many_wait_and_since_when_is_told_of_all_tenants(stores):
    assert stores.reviews.waiting(200) == (0, 0)
    for number, tenant in ((1, "acme"), (2, "acme"), (3, "other")):
        stores.reviews.add(review(number, tenant=tenant, at=100 + number), b"sealed")
    stores.reviews.add(review(4, at=50, until=150), b"sealed")
    assert stores.reviews.waiting(200) == (3, review(1, at=101).at_ns), "one that has ended waits no more"
    decided(stores, review(1))
    assert stores.reviews.waiting(200) == (2, review(2, at=102).at_ns)


def test_a_call_that_is_added_twice_is_there_once_and_stays_as_it_was(stores):
    stores.reviews.add(review(1), b"first")
    decided(stores, review(1))
    stores.reviews.add(review(1), b"second")
    (one,) = stores.reviews.queued("acme", 10)
    assert one.verdict is Verdict.ANSWERED
    assert stores.reviews.question(review(1), change(review(1), "review.read")) == b""


def test_one_is_found_by_its_ticket_and_by_its_request(stores):
    stores.reviews.add(review(1), b"sealed")
    assert stores.reviews.find(review(1).id).review == review(1)
    assert stores.reviews.find("req-1").review == review(1)
    assert stores.reviews.find("req-2") is None


def test_bytes_come_back_as_they_were_and_who_read_them_is_on_record(stores):
    sealed = bytes(range(256)) * 5
    stores.reviews.add(review(1), sealed)
    before = stores.outbox.last()
    assert stores.reviews.question(review(1), change(review(1), "review.read", "bob")) == sealed
    ((_, made),) = stores.outbox.since(before)
    assert (made.actor, made.action, made.object_id) == ("bob", "review.read", review(1).id)


def test_a_decision_is_taken_once_and_gives_the_request_up(stores):
    stores.reviews.add(review(1), b"sealed")
    before = stores.outbox.last()
    assert stores.reviews.decide(review(1), Verdict.DECLINED, b"no", change(review(1), actor="ann", at=250))
    assert not stores.reviews.decide(review(1), Verdict.ANSWERED, b"yes", change(review(1)))
    one = stores.reviews.find("req-1")
    assert (one.verdict, one.decided_by, one.decided_ns, one.recorded_ns) == (Verdict.DECLINED, "ann", 250 * S, 0)
    assert len(stores.outbox.since(before)) == 1, "what changes nothing is no change"
    assert stores.reviews.question(review(1), change(review(1))) == b""


def test_only_what_is_on_record_is_told_and_the_time_of_that_does_not_move(stores):
    stores.reviews.add(review(1), b"sealed")
    stores.reviews.record(review(1), 240 * S)
    assert stores.reviews.recorded(0) == []
    stores.reviews.decide(review(1), Verdict.ANSWERED, b"answer", change(review(1)))
    assert stores.reviews.recorded(0) == []
    stores.reviews.record(review(1), 300 * S)
    stores.reviews.record(review(1), 400 * S)
    assert stores.reviews.recorded(0) == [review(1)]
    assert stores.reviews.decision(review(1)) == b"answer"
    assert stores.reviews.decision(review(2)) == b""
    assert stores.reviews.recorded(301 * S) == []


def test_a_callback_is_told_once_and_again_when_it_failed(stores):
    for number, callback in ((1, "app"), (2, "")):
        stores.reviews.add(review(number, callback=callback), b"sealed")
        decided(stores, review(number, callback=callback))
    store = stores.reviews
    notice = store.claim("app", 301 * S, 360 * S)
    assert (notice.review.request_id, notice.verdict, notice.attempts) == ("req-1", Verdict.ANSWERED, 1)
    assert store.claim("app", 359 * S, 400 * S) is None
    assert store.claim("app", 360 * S, 400 * S).attempts == 2
    store.not_notified(notice.review.id, 500 * S)
    assert store.claim("app", 499 * S, 600 * S) is None
    assert store.claim("app", 500 * S, 600 * S).attempts == 3
    store.notified(notice.review.id, 501 * S)
    assert store.claim("app", 10**6 * S, 10**7 * S) is None


def test_what_is_given_up_is_not_told_again(stores):
    stores.reviews.add(review(1, callback="app"), b"sealed")
    decided(stores, review(1, callback="app"))
    stores.reviews.not_notified(stores.reviews.claim("app", 301 * S, 360 * S).review.id, 0)
    assert stores.reviews.claim("app", 10**6 * S, 10**7 * S) is None


def test_what_has_ended_is_given_up_whether_decided_or_not(stores):
    for number, until in ((1, 1_000), (2, 1_001), (3, 1_000)):
        stores.reviews.add(review(number, until=until), b"sealed")
    decided(stores, review(3, until=1_000))
    assert stores.reviews.forget(1_000) == 2
    assert [one.review.request_id for one in stores.reviews.queued(None, 10)] == ["req-2"]


def test_of_many_who_decide_or_claim_at_once_one_does(stores):
    one = review(1, callback="app")
    stores.reviews.add(one, b"sealed")
    others = [stores.other() for _ in range(4)]
    done, start = [], threading.Barrier(len(others))

    def work(place, number):
        start.wait()
        done.append(place.reviews.decide(one, Verdict.ANSWERED, b"%d" % number, change(one, actor=f"a{number}")))
        place.reviews.record(one, 300 * S)
        start.wait()
        done.append(place.reviews.claim("app", 400 * S, 500 * S) is not None)

    threads = [threading.Thread(target=work, args=(place, number)) for number, place in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in others:
        place.close()
    assert sorted(done) == [False] * 6 + [True] * 2
    assert stores.reviews.recorded(0) == [one]
    assert stores.reviews.find("req-1").decided_by == f"a{int(stores.reviews.decision(one))}"


def test_the_queue_survives_the_process(stores):
    stores.reviews.add(review(1), b"sealed")
    decided(stores, review(1))
    stores.reopen()
    assert stores.reviews.recorded(0) == [review(1)]
    assert stores.reviews.decision(review(1)) == b"sealed answer"


@pytest.mark.parametrize("model", ["pré\u0000fix/ü", "x" * 256])
def test_a_model_of_any_name_is_kept(stores, model):
    stores.reviews.add(review(1, model=model), b"sealed")
    assert stores.reviews.find("req-1").review.model == model
