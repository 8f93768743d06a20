"""The delivery of alerts, on a queue in memory and channels that fail as told."""

import asyncio
import json

import pytest

from ostiary.core.event import BudgetAlert
from ostiary.jobs.alerts import service
from ostiary.jobs.alerts.model import Pending, alert_id, message, tenant_of
from ostiary.jobs.alerts.ports import DeliveryFailed
from ostiary.jobs.alerts.service import ATTEMPT_AFTER_SECONDS, Channel, Deliveries, send_test

ALERT = BudgetAlert(
    1_700_000_000_250_000_000, "team/acme/search", 0.8, 1_698_796_800, 1_701_388_800, 40_120_000_000, 7, 50_000_000_000
)
NANO = 10**9


class Clock:
    def __init__(self):
        self.ns = 1_700_000_100 * NANO

    def monotonic(self):
        return self.ns / NANO

    def now_ns(self):
        return self.ns


class Queue:
    def __init__(self):
        self.said = []

    def claim(self, channel, now_ns, until_ns, since_ns, count_max):
        self.bounds = (now_ns, until_ns, since_ns)
        return [Pending(alert_id(ALERT), ALERT, 1)]

    def delivered(self, ident, channel, at_ns):
        self.said.append(("delivered", channel, at_ns))

    def failed(self, ident, channel, next_ns, reason):
        self.said.append(("failed", channel, next_ns, reason))


class Sender:
    def __init__(self, failure=None):
        self.failure = failure
        self.sent = []

    async def send(self, told, now_seconds):
        self.sent.append(told)
        if self.failure is not None:
            raise self.failure


def deliveries(queue, clock, spread=0.5):
    told = []
    return Deliveries(queue, clock, spread=lambda: spread, told=lambda *one: told.append(one)), told


async def attempt(sender, attempts=1, tenants=(), spread=0.5):
    queue, clock = Queue(), Clock()
    work, told = deliveries(queue, clock, spread)
    channel = Channel("ops", sender, frozenset(tenants))
    (await work.attempt(channel, Pending(alert_id(ALERT), ALERT, attempts)))()
    return queue.said, told


def test_what_is_said_names_scope_share_period_and_amounts():
    told = message("id", ALERT)
    assert json.loads(told.body()) == {
        "type": "budget.share_reached",
        "timestamp": "2023-11-14T22:13:20Z",
        "data": {
            "scope": "team/acme/search",
            "share": 0.8,
            "period_start": "2023-11-01T00:00:00Z",
            "period_end": "2023-12-01T00:00:00Z",
            "currency": "USD",
            "spent": "40.12",
            "spent_tokens": 7,
            "budget": "50",
            "budget_tokens": None,
        },
    }
    assert told.subject() == "Ostiary: 80% of the budget of team/acme/search is spent"
    assert "Spent: 40.12 of 50 USD" in told.text()
    assert "Tokens" not in told.text()


def test_a_budget_without_an_end_is_told_too():
    endless = BudgetAlert(0, "key/acme/k", 1.0, 0, 2**53, budget_tokens=5, spent_tokens=5)
    assert json.loads(message("id", endless).body())["data"]["period_end"] == "never"


def test_an_id_is_that_of_scope_period_and_share():
    ids = {
        alert_id(ALERT),
        alert_id(BudgetAlert(1, ALERT.scope, ALERT.share, ALERT.start, ALERT.end)),
        alert_id(BudgetAlert(1, ALERT.scope, 0.9, ALERT.start, ALERT.end)),
        alert_id(BudgetAlert(1, ALERT.scope, ALERT.share, ALERT.start + 1, ALERT.end)),
        alert_id(BudgetAlert(1, "team/acme/other", ALERT.share, ALERT.start, ALERT.end)),
    }
    assert len(ids) == 4
    assert "." not in "".join(ids), "a dot parts what is signed"


async def test_what_is_taken_is_delivered():
    sender = Sender()
    said, told = await attempt(sender)
    assert [one[0] for one in said] == ["delivered"]
    assert sender.sent == [message(alert_id(ALERT), ALERT)]
    assert told == [("ops", alert_id(ALERT), "", True)]


async def test_what_fails_is_tried_again_after_longer_and_longer_waits_and_given_up_after_the_last():
    now = Clock().now_ns()
    for attempts, wait in enumerate(ATTEMPT_AFTER_SECONDS, 1):
        for spread, factor in ((0.0, 0.95), (0.5, 1.0)):
            said, told = await attempt(Sender(DeliveryFailed("it answered 503")), attempts, spread=spread)
            assert said == [("failed", "ops", now + int(wait * factor * NANO), "it answered 503")]
            assert told[0][3] is False
    said, told = await attempt(Sender(DeliveryFailed("it answered 503")), len(ATTEMPT_AFTER_SECONDS) + 1)
    assert said == [("failed", "ops", 0, "it answered 503")]
    assert told[0][3] is True


async def test_a_sender_that_breaks_is_a_failed_attempt_like_any_other():
    said, told = await attempt(Sender(ValueError("secret words of a library")))
    assert [one[0] for one in said] == ["failed"]
    assert said[0][3] == "failed: ValueError", "its own words may hold what was sent"
    assert told[0][3] is False


async def test_an_attempt_that_takes_for_ever_ends_before_its_claim_does(monkeypatch):
    class Silent:
        async def send(self, told, now_seconds):
            await asyncio.Event().wait()

    assert service.ALERT_ATTEMPT_SECONDS_MAX < service.ALERT_CLAIM_SECONDS
    monkeypatch.setattr(service, "ALERT_ATTEMPT_SECONDS_MAX", 0.01)
    said, _ = await attempt(Silent())
    assert [(one[0], one[3]) for one in said] == [("failed", "failed: TimeoutError")]


async def test_what_refuses_for_good_is_given_up_at_once():
    said, _ = await attempt(Sender(DeliveryFailed("it answered 410", final=True)))
    assert said == [("failed", "ops", 0, "it answered 410")]


@pytest.mark.parametrize(("tenants", "sent"), [((), 1), (("acme",), 1), (("other", "acme"), 1), (("other",), 0)])
async def test_a_channel_for_some_tenants_hears_of_theirs_alone(tenants, sent):
    sender = Sender()
    said, told = await attempt(sender, tenants=tenants)
    assert len(sender.sent) == sent
    if not sent:
        assert said == [("failed", "ops", 0, "")]
        assert told == []


@pytest.mark.parametrize(
    ("scope", "tenant"),
    [("tenant/acme", "acme"), ("team/acme/x", "acme"), ("user/acme/x/abc", "acme"), ("model/gpt/4", "")],
)
def test_whose_alert_it_is(scope, tenant):
    assert tenant_of(scope) == tenant


def test_a_claim_outlasts_an_attempt_and_begins_nothing_old():
    queue, clock = Queue(), Clock()
    work, _ = deliveries(queue, clock)
    assert work.due(Channel("ops", Sender())) == Pending(alert_id(ALERT), ALERT, 1)
    now, until, since = queue.bounds
    assert (until - now, now - since) == (60 * NANO, 3 * 86_400 * NANO)


async def test_a_test_says_that_it_is_one():
    sender = Sender()
    await send_test(Channel("ops", sender), 5 * NANO)
    (told,) = sender.sent
    assert json.loads(told.body())["type"] == "ostiary.test"
    assert told.subject() == "Ostiary: a test of this channel"
