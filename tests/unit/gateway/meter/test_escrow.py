"""Leases through the edges of periods and of what holds turn out to cost."""

from ostiary.gateway.meter.escrow import Escrow, Need
from ostiary.gateway.meter.hold import Hold
from ostiary.gateway.ports import BudgetAnswer, Granted, Lent
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, Period

DAY = 86_400
NOW = 10 * DAY
TEAM = BudgetedRow("team/a/b", BudgetRow(nano=1_000, period=Period.DAY))


def say(escrow, *needs, lend=0, refused=-1, now=NOW, generation="g"):
    """One exchange in which each account is lent so much more."""
    sent = escrow.batch(needs, now, beat=True)
    accounts = tuple(Lent(one.lease_nano + (lend if sent.needs else 0), one.lease_tokens) for one in sent.batch.stated)
    answer = BudgetAnswer(generation, 0.0, accounts, tuple(Granted(refused) for _ in sent.needs))
    return sent.batch.stated, escrow.heard(sent, answer, now)


def opened(lend, cost, now=NOW):
    escrow = Escrow()
    say(escrow)
    _, (hold,) = say(escrow, Need(cost, 0, (TEAM,)), lend=lend, now=now)
    assert isinstance(hold, Hold)
    return escrow, hold


def test_a_period_that_ends_is_stated_to_its_end_and_its_lease_given_back():
    escrow, hold = opened(100, 60)
    escrow.settle(hold, 50, 0, NOW)
    assert escrow.reserve(60, 0, (TEAM,), NOW + DAY) is None, "nothing is leased in the new one"
    stated, _ = say(escrow, now=NOW + DAY)
    assert {(one.start, one.spent_nano, one.lease_nano) for one in stated} == {(NOW, 50, 0), (NOW + DAY, 0, 0)}


def test_a_hold_that_outlives_its_period_counts_against_the_next_one_for_everybody():
    escrow, hold = opened(100, 60)
    assert escrow.reserve(10, 0, (TEAM,), NOW + DAY) is None
    stated, _ = say(escrow, now=NOW + DAY)
    assert {(one.start, one.lease_nano) for one in stated} == {(NOW, 0), (NOW + DAY, 60)}
    escrow.settle(hold, 55, 0, NOW + DAY)
    stated, _ = say(escrow, now=NOW + DAY)
    assert [(one.start, one.spent_nano, one.lease_nano) for one in stated] == [(NOW + DAY, 55, 5)]


def test_what_is_lent_for_a_period_that_ended_meanwhile_is_given_back():
    escrow = Escrow()
    say(escrow)
    sent = escrow.batch((Need(60, 0, (TEAM,)),), NOW + DAY - 1, beat=False)
    (one,) = sent.batch.stated
    escrow.reserve(1, 0, (TEAM,), NOW + DAY)  # another call meets the new period first
    answer = BudgetAnswer("g", 0.0, (Lent(60, 0),), (Granted(-1),))
    assert escrow.heard(sent, answer, NOW + DAY) == [None], "to be asked for again"
    stated, _ = say(escrow, now=NOW + DAY)
    assert {(one.start, one.lease_nano) for one in stated} >= {(NOW, 0)}
    assert one.start == NOW


def test_a_call_that_cost_more_than_its_hold_takes_from_the_lease_and_never_below_nothing():
    escrow, hold = opened(60, 60)
    escrow.settle(hold, 90, 0, NOW)
    stated, _ = say(escrow)
    assert [(one.spent_nano, one.lease_nano) for one in stated] == [(90, 0)]


def test_while_others_wait_for_a_lease_nobody_takes_it_from_under_them():
    escrow, hold = opened(100, 60)
    escrow.settle(hold, 0, 0, NOW)
    sent = escrow.batch((Need(500, 0, (TEAM,)),), NOW, beat=False)
    assert escrow.reserve(10, 0, (TEAM,), NOW) is None
    assert isinstance(escrow.reserve(0, 0, (TEAM,), NOW), Hold), "what costs nothing needs no room"
    escrow.unheard(sent)
    assert isinstance(escrow.reserve(10, 0, (TEAM,), NOW), Hold)


def test_counters_of_another_generation_hear_everything_before_they_are_asked():
    escrow, hold = opened(100, 60)
    escrow.settle(hold, 50, 0, NOW)
    say(escrow)
    say(escrow, generation="h")
    assert escrow.meeting
    sent = escrow.batch((Need(500, 0, (TEAM,)),), NOW, beat=False)
    assert sent.needs == ()
    assert [(one.scope, one.spent_nano) for one in sent.batch.stated] == [("team/a/b", 50)]
    escrow.heard(sent, BudgetAnswer("h", 0.0, tuple(Lent(one.lease_nano, 0) for one in sent.batch.stated), ()), NOW)
    assert (escrow.meeting, escrow.generation) == (False, "h")
