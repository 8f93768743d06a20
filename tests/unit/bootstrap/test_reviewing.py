"""Calls on their way to a person and back, in the ops process: nothing is lost where a step fails, nothing is done twice."""

import asyncio
import os

import pytest

from ostiary.bootstrap.channels import Hook
from ostiary.bootstrap.reviewing import Reviews, take_up
from ostiary.core.error import Code, OperatorError
from ostiary.core.http import Origin
from ostiary.core.review import Verdict
from ostiary.core.secret import Secret
from ostiary.govern.change import Change
from ostiary.jobs.alerts.service import ATTEMPT_AFTER_SECONDS
from ostiary.store.reviews.files import ReviewFiles
from ostiary.store.reviews.sealed import ReviewSeals
from ostiary.testing.clock import FakeClock
from tests.contract.backends import CountingIds, backend
from tests.contract.test_review_store import review

FAR = 2_000_000_000
NANO = 10**9
SECRET = Secret("whsec_" + "A" * 43 + "=")


class Queue:
    """Files, a store, and the part of the ops process between them."""

    def __init__(self, folder):
        self.stores = backend("sqlite", folder)
        self.store = self.stores.reviews
        self.seals = ReviewSeals(b"k" * 32, os.urandom)
        self.files = ReviewFiles(folder / "review", self.seals)
        self.clock = FakeClock()
        self.reviews = Reviews(self.files, self.store, self.clock)
        self.ids = CountingIds()

    def leave(self, number=1, **fields):
        one = review(number, until=FAR, **fields)
        assert asyncio.run(self.files.leave(one, b"question"))
        return one

    def decide(self, one):
        sealed = self.seals.seal(one.tenant, one.id, "decision", b"not msgpack")
        change = Change(self.ids.new(), self.clock.now_ns(), "ann", "review.answered", one.tenant, one.id)
        assert self.store.decide(one, Verdict.ANSWERED, sealed, change)
        self.store.record(one, self.clock.now_ns())

    def names(self):
        return sorted(path.suffix for path in (self.files._folder).rglob("*") if path.is_file())


@pytest.fixture
def queue(tmp_path):
    made = Queue(tmp_path)
    yield made
    made.stores.close()


def test_what_a_worker_left_stays_until_the_store_has_it(queue, monkeypatch):
    one = queue.leave()

    def away(*_):
        raise OperatorError(Code.STORE_UNAVAILABLE, "away")

    with monkeypatch.context() as patch:
        patch.setattr(queue.store, "add", away)
        for _ in range(2):
            with pytest.raises(OperatorError):
                take_up(queue.files, queue.store)
        assert queue.names() == [".asked"]
    assert take_up(queue.files, queue.store) == 1
    assert queue.names() == [".queued"]
    assert take_up(queue.files, queue.store) == 0
    assert [found.review for found in queue.store.queued(None, 10)] == [one]


def test_what_is_taken_up_twice_is_there_once(queue, monkeypatch):
    queue.leave()
    with monkeypatch.context() as patch:
        patch.setattr(queue.files, "queued", lambda _: (_ for _ in ()).throw(OSError("cut short")))
        with pytest.raises(OSError, match="cut short"):
            take_up(queue.files, queue.store)
    assert take_up(queue.files, queue.store) == 1
    assert len(queue.store.queued(None, 10)) == 1


def test_what_comes_later_into_a_folder_that_was_looked_at_is_found(queue):
    for number in range(1, 6):
        queue.leave(number)
        assert take_up(queue.files, queue.store) == 1
        assert take_up(queue.files, queue.store) == 0
    for folder in queue.files._folders():
        os.utime(folder, ns=(0, 0))  # long ago: it need not be looked at again
    assert take_up(queue.files, queue.store) == 0
    queue.leave(6)
    assert take_up(queue.files, queue.store) == 1


def test_a_decision_is_put_where_workers_find_it_and_again_where_that_was_lost(queue):
    one = queue.leave()
    take_up(queue.files, queue.store)
    queue.decide(one)
    queue.reviews._look(1)
    assert queue.names() == [".said"]
    (path,) = (path for path in queue.files._folder.rglob("*") if path.is_file())
    path.unlink()
    queue.reviews._look(2)
    assert queue.names() == [".said"]


def test_what_has_ended_is_given_up_everywhere(queue):
    one = queue.leave()
    queue.reviews._look(1)
    queue.decide(one)
    queue.reviews._look(2)
    queue.clock.advance((FAR - queue.clock.now_ns() // NANO) + 1)
    queue.reviews._look(120)
    assert queue.names() == []
    assert queue.store.queued(None, 10) == []
    assert asyncio.run(queue.files.decision("acme", one.id)) is None


async def attempt(queue, monkeypatch, statuses, tenants=frozenset()):
    """One attempt after the other at a callback that answers so; the attempts."""
    asked = []

    class Reply:
        def __init__(self, status):
            self.status = status

        def close(self):
            pass

    async def send(_, request):
        asked.append(request)
        return Reply(statuses[len(asked) - 1])

    monkeypatch.setattr(queue.reviews._upstream.__class__, "send", send)
    hook = Hook("app", tenants, Origin("https", "app.test", 443), b"/decided", SECRET)
    await queue.reviews._serve(hook, pytest.fail)
    return asked


def decided(queue):
    one = review(1, until=FAR, callback="app")
    queue.store.add(one, b"sealed")
    queue.decide(one)
    return one


async def test_a_callback_that_fails_is_tried_again_later_under_the_same_id(queue, monkeypatch):
    decided(queue)
    statuses = [503, 204]
    first = await attempt(queue, monkeypatch, statuses)
    assert len(first) == 1
    assert await attempt(queue, monkeypatch, [204]) == []
    queue.clock.advance(ATTEMPT_AFTER_SECONDS[0] * 1.1)
    (second,) = await attempt(queue, monkeypatch, [204])
    ids = [dict(request.headers)[b"webhook-id"] for request in (*first, second)]
    assert ids == [b"review_req-1"] * 2
    queue.clock.advance(10**6)
    assert await attempt(queue, monkeypatch, [204]) == []


async def test_a_callback_that_is_gone_or_anothers_is_not_tried_again(queue, monkeypatch):
    decided(queue)
    assert len(await attempt(queue, monkeypatch, [410])) == 1
    queue.clock.advance(10**6)
    assert await attempt(queue, monkeypatch, [204]) == []


async def test_a_callback_hears_of_its_tenants_alone(queue, monkeypatch):
    decided(queue)
    assert await attempt(queue, monkeypatch, [204], frozenset({"other"})) == []
    queue.clock.advance(10**6)
    assert await attempt(queue, monkeypatch, [204]) == [], "it is settled for good"
