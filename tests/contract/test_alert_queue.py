"""What every store keeps of alerts."""

import threading

from ostiary.core.event import BudgetAlert
from ostiary.govern.usage.model import Batch, Place
from ostiary.jobs.alerts.model import alert_id

SECOND = 10**9
FAR = 10**9


def alert(number=0, *, share=0.5, at=100):
    return BudgetAlert(at * SECOND + number, f"team/acme/t{number}", share, 0, 86_400, 10, 20, 30, None)


def keep(place, *alerts, origin="r.0"):
    before = place.usage.place("usage", origin)
    after = Place(before.segment, before.offset + 1, before.sequence + 1)
    assert place.usage.apply("usage", origin, before, after, Batch([], {}, [], [], [], [], [], list(alerts)))


def claim(place, channel="ops", *, now=200, until=260, since=0, count=10):
    return place.alerts.claim(channel, now * SECOND, until * SECOND, since * SECOND, count)


def test_an_alert_is_given_out_once_and_again_when_the_claim_ends(stores):
    keep(stores, alert(1), alert(2))
    first = claim(stores)
    assert [one.alert for one in first] == [alert(1), alert(2)]
    assert {one.attempts for one in first} == {1}
    assert claim(stores) == []
    again = claim(stores, now=260, until=320)
    assert [one.id for one in again] == [one.id for one in first]
    assert {one.attempts for one in again} == {2}


def test_the_same_share_of_the_same_period_is_one_alert_whoever_tells_of_it(stores):
    keep(stores, alert(1), alert(1))
    keep(stores, alert(1), origin="other.0")
    assert len(claim(stores)) == 1
    keep(stores, alert(1, share=0.8))
    assert [one.alert.share for one in claim(stores)] == [0.8]


def test_each_channel_hears_of_it_by_itself(stores):
    keep(stores, alert(1))
    (one,) = claim(stores, "ops")
    stores.alerts.delivered(one.id, "ops", 201 * SECOND)
    assert claim(stores, "ops", now=FAR) == []
    (other,) = claim(stores, "finance")
    assert other.attempts == 1
    stores.alerts.failed(other.id, "finance", 0, "gone")
    assert claim(stores, "finance", now=FAR) == []
    ((_, standings),) = stores.alerts.standings(0, 10)
    told = {one.channel: one for one in standings}
    assert told["ops"].done_ns == 201 * SECOND
    assert (told["finance"].given_up, told["finance"].reason) == (True, "gone")


def test_a_failure_is_tried_again_when_it_is_due(stores):
    keep(stores, alert(1))
    (one,) = claim(stores)
    stores.alerts.failed(one.id, "ops", 300 * SECOND, "it answered 503")
    assert claim(stores, now=299) == []
    (again,) = claim(stores, now=300)
    assert again.attempts == 2


def test_old_alerts_are_not_begun_and_are_forgotten_with_their_deliveries(stores):
    keep(stores, alert(1, at=100), alert(2, at=150))
    assert [one.alert for one in claim(stores, since=120)] == [alert(2, at=150)]
    stores.alerts.forget(200 * SECOND)
    assert stores.alerts.standings(0, 10) == []
    keep(stores, alert(2, at=150))
    assert [one.attempts for one in claim(stores, now=FAR)] == [1]


def test_the_oldest_come_first_and_no_more_than_asked_for(stores):
    keep(stores, *(alert(number, at=100 + number) for number in range(5)))
    assert [one.alert.scope for one in claim(stores, count=2)] == ["team/acme/t0", "team/acme/t1"]
    assert [one.alert.scope for one, _ in stores.alerts.standings(0, 2)] == ["team/acme/t4", "team/acme/t3"]


def test_of_many_who_claim_at_once_one_gets_each(stores):
    keep(stores, *(alert(number) for number in range(8)))
    others = [stores.other() for _ in range(4)]
    got, start = [], threading.Barrier(len(others))

    def take(place):
        start.wait()
        got.extend(one.id for one in claim(place))

    threads = [threading.Thread(target=take, args=(place,)) for place in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in others:
        place.close()
    assert sorted(got) == sorted(alert_id(alert(number)) for number in range(8))


def test_what_was_claimed_survives_the_process(stores):
    keep(stores, alert(1))
    (one,) = claim(stores)
    stores.reopen()
    assert claim(stores) == []
    assert [again.id for again in claim(stores, now=FAR)] == [one.id]
